"""what a drive holds and what an encoder has indexed, without a pass over the pool"""

from __future__ import annotations

from alembic import op

revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table('images', schema=None) as batch_op:
        batch_op.create_index('ix_images_role_group', ['role', 'group'], unique=False)
    with op.batch_alter_table('embeddings', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_embeddings_indexed'))
        batch_op.create_index(
            'ix_embeddings_indexed_encoder', ['indexed', 'encoder_version'], unique=False
        )


def downgrade() -> None:
    with op.batch_alter_table('images', schema=None) as batch_op:
        batch_op.drop_index('ix_images_role_group')
    with op.batch_alter_table('embeddings', schema=None) as batch_op:
        batch_op.drop_index('ix_embeddings_indexed_encoder')
        batch_op.create_index(batch_op.f('ix_embeddings_indexed'), ['indexed'], unique=False)
