"""How bytes travel: TLS and certificates, HTTP listeners, stream channels, logging set-up."""
