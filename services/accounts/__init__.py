"""Users, roles, tokens, sessions and the audit trail."""
