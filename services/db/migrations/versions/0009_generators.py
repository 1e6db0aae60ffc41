"""who may draw, and where in a drawn picture its object is"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0009'
down_revision = '0008'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('generators',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('number', sa.Integer(), nullable=False),
    sa.Column('name', sa.String(length=64), nullable=False),
    sa.Column('folder', sa.String(length=200), nullable=False),
    sa.Column('dataset_version_id', sa.String(length=64), nullable=True),
    sa.Column('class_names', sa.JSON(), nullable=False),
    sa.Column('steps', sa.Integer(), nullable=False),
    sa.Column('training', sa.JSON(), nullable=False),
    sa.Column('verdict', sa.JSON(), nullable=True),
    sa.Column('judged_by', sa.String(length=120), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['dataset_version_id'], ['dataset_versions.id'], name=op.f('fk_generators_dataset_version_id_dataset_versions')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_generators')),
    sa.UniqueConstraint('number', name=op.f('uq_generators_number'))
    )
    op.add_column('generated', sa.Column('box', sa.JSON(), nullable=True))
    op.add_column('harms', sa.Column('colours', sa.JSON(), nullable=True))
    op.add_column('harms', sa.Column('vacant', sa.Boolean(), server_default=sa.false(), nullable=False))


def downgrade() -> None:
    op.drop_column('harms', 'vacant')
    op.drop_column('harms', 'colours')
    op.drop_column('generated', 'box')
    op.drop_table('generators')
