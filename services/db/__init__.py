"""The database: tables, engine, units of work and the outbox."""
