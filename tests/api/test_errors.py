"""The Status bodies below are those that kube-apiserver 1.36 answered."""

import pytest

from clusterip.api import errors
from clusterip.api.errors import ApiError, quoted, shown

FIELD_MESSAGES = [
    (
        errors.invalid("spec.ports[0].port", 65536, "must be between 1 and 65535, inclusive"),
        "Invalid value: 65536: must be between 1 and 65535, inclusive",
    ),
    (errors.invalid("type", "other", "field is immutable"), 'Invalid value: "other": field is immutable'),
    (errors.invalid("spec", None, "either"), "Invalid value: null: either"),
    (errors.invalid("l", {"app": "w"}, "no"), 'Invalid value: {"app":"w"}: no'),
    (errors.required("spec.type"), "Required value"),
    (errors.required("spec.x", "say why"), "Required value: say why"),
    (errors.not_supported("p", "ICMP", ["TCP", "UDP"]), 'Unsupported value: "ICMP": supported values: "TCP", "UDP"'),
    (errors.forbidden("a", "may not"), "Forbidden: may not"),
    (errors.duplicate("ports[1].name", "A"), 'Duplicate value: "A"'),
    (errors.duplicate("by[1]", {"k": "x"}), 'Duplicate value: {"k":"x"}'),
    (errors.not_found("v", "v"), 'Not found: "v"'),
    (errors.too_long("v", 63), "Too long: may not be more than 63 bytes"),
    (errors.too_many("v", 3, 1), "Too many: 3: must have at most 1 item"),
]


@pytest.mark.parametrize(("error", "message"), FIELD_MESSAGES)
def test_field_messages(error, message):
    assert error.message() == message
    assert error.cause() == {"reason": error.type, "message": message, "field": error.field}


STATUSES = [
    (
        ApiError.not_found("", "configmaps", "a"),
        404,
        "NotFound",
        'configmaps "a" not found',
        {"kind": "configmaps", "name": "a"},
    ),
    (ApiError.no_such_resource(), 404, "NotFound", "the server could not find the requested resource", {}),
    (
        ApiError.already_exists("apiextensions.k8s.io", "customresourcedefinitions", "pools.x"),
        409,
        "AlreadyExists",
        'customresourcedefinitions.apiextensions.k8s.io "pools.x" already exists',
        {"group": "apiextensions.k8s.io", "kind": "customresourcedefinitions", "name": "pools.x"},
    ),
    (
        ApiError.modified("", "configmaps", "a"),
        409,
        "Conflict",
        'Operation cannot be fulfilled on configmaps "a": the object has been modified; '
        "please apply your changes to the latest version and try again",
        {"kind": "configmaps", "name": "a"},
    ),
    (
        ApiError.forbidden(
            "", "pods", "", 'User "jane" cannot list resource "pods" in API group "" in the namespace "n"'
        ),
        403,
        "Forbidden",
        'pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "n"',
        {"kind": "pods"},
    ),
    (
        ApiError.forbidden("", "", "", 'User "system:anonymous" cannot get path "/api"'),
        403,
        "Forbidden",
        'forbidden: User "system:anonymous" cannot get path "/api"',
        {},
    ),
    (
        ApiError.method_not_allowed(),
        405,
        "MethodNotAllowed",
        "the server does not allow this method on the requested resource",
        {},
    ),
    (
        ApiError.not_acceptable(["application/json", "application/yaml"]),
        406,
        "NotAcceptable",
        "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml",
        {},
    ),
    (ApiError.unsupported_media_type(), 415, "UnsupportedMediaType", "415: Unsupported Media Type", {}),
    (
        ApiError.unsupported_media_type(["application/json-patch+json"]),
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: application/json-patch+json",
        None,
    ),
    (ApiError.bad_request("no"), 400, "BadRequest", "no", None),
    (ApiError.unauthorized(), 401, "Unauthorized", "Unauthorized", None),
    (ApiError.too_old_resource_version(1, 5), 410, "Expired", "too old resource version: 1 (5)", None),
    (
        ApiError.too_large_resource_version(99, 5),
        504,
        "Timeout",
        "Timeout: Too large resource version: 99, current: 5",
        {
            "causes": [{"message": "Too large resource version", "reason": "ResourceVersionTooLarge"}],
            "retryAfterSeconds": 1,
        },
    ),
    (
        ApiError.namespace_terminating("", "configmaps", "late", "b"),
        403,
        "Forbidden",
        'configmaps "late" is forbidden: unable to create new content in namespace b because it is being terminated',
        {
            "causes": [
                {
                    "field": "metadata.namespace",
                    "message": "namespace b is being terminated",
                    "reason": "NamespaceTerminating",
                }
            ],
            "kind": "configmaps",
            "name": "late",
        },
    ),
    (ApiError.internal("x"), 500, "InternalError", "Internal error occurred: x", {"causes": [{"message": "x"}]}),
]


@pytest.mark.parametrize(("error", "code", "reason", "message", "details"), STATUSES)
def test_statuses(error, code, reason, message, details):
    want = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
    assert error.status() == (want if details is None else {**want, "details": details})
    assert ApiError.from_status(error.status()).status() == error.status()


def test_invalid_names_every_error_once_and_keeps_every_cause():
    twice = errors.required("a")
    error = ApiError.invalid("apps", "Deployment", "x", [twice, errors.forbidden("b", "no"), twice])
    assert error.message == 'Deployment.apps "x" is invalid: [a: Required value, b: Forbidden: no]'
    assert error.details is not None
    assert len(error.details["causes"]) == 3


def test_invalid_with_one_error_has_no_brackets():
    assert (
        ApiError.invalid("", "Service", "x", [errors.required("a")]).message
        == 'Service "x" is invalid: a: Required value'
    )


def test_an_error_of_no_class_has_no_reason():
    assert ApiError.unclassified("x").status() == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "x",
        "code": 500,
    }


def test_a_foreign_status_without_fields_is_still_an_error():
    assert ApiError.from_status({"kind": "Status"}).code == 500


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("a b", '"a b"'),
        ('a"b', '"a\\"b"'),
        ("a\nb\x01", '"a\\nb\\x01"'),
        ("é", '"é"'),
        ("\u00a0\U000e0001", '"\\u00a0\\U000e0001"'),
    ],
)
def test_go_quoting(text, want):
    assert quoted(text) == want


def test_structures_are_shown_as_go_marshals_them():
    assert shown({"a": "<x>", "n": None, "b": [True, 1]}) == '{"a":"\\u003cx\\u003e","n":null,"b":[true,1]}'
    assert shown(1.5) == "1.5"
