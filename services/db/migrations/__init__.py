"""Migrations of the database; run by :func:`services.db.migrate.upgrade`."""
