"""What objects are: schema, defaults, validation, selectors, quantities, patches. Pure; imports nothing of ours."""
