"""lists by time, and what hangs on a failure, a mode or a subject"""

from __future__ import annotations

from alembic import op

revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table('failures', schema=None) as batch_op:
        batch_op.create_index('ix_failures_created_at_id', ['created_at', 'id'], unique=False)

    with op.batch_alter_table('candidates', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_candidates_failure_id'), ['failure_id'], unique=False)
        batch_op.create_index(batch_op.f('ix_candidates_mode_id'), ['mode_id'], unique=False)

    with op.batch_alter_table('audit', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_audit_subject'), ['subject'], unique=False)


def downgrade() -> None:
    with op.batch_alter_table('audit', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_audit_subject'))

    with op.batch_alter_table('candidates', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_candidates_mode_id'))
        batch_op.drop_index(batch_op.f('ix_candidates_failure_id'))

    with op.batch_alter_table('failures', schema=None) as batch_op:
        batch_op.drop_index('ix_failures_created_at_id')
