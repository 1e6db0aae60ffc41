"""what people decide: plans, modes and images, and second looks"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0008'
down_revision = '0007'
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    op.create_table('plans',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('champion_id', sa.String(length=64), nullable=False),
    sa.Column('policy', sa.String(length=32), nullable=False),
    sa.Column('seed', sa.Integer(), nullable=False),
    sa.Column('budget_boxes', sa.Integer(), nullable=False),
    sa.Column('content', sa.JSON(), nullable=False),
    sa.Column('members', sa.JSON(), nullable=False),
    sa.Column('seconds', sa.Double(), nullable=False),
    sa.Column('made_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['champion_id'], ['models.id'], name=op.f('fk_plans_champion_id_models')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_plans'))
    )
    with op.batch_alter_table('plans', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_plans_made_at'), ['made_at'], unique=False)

    op.create_table('decisions',
    sa.Column('id', NUMBER, autoincrement=True, nullable=False),
    sa.Column('kind', sa.String(length=16), nullable=False),
    sa.Column('mode_id', NUMBER, nullable=True),
    sa.Column('image_id', sa.String(length=64), nullable=True),
    sa.Column('detail', sa.JSON(), nullable=False),
    sa.Column('note', sa.Text(), nullable=False),
    sa.Column('cycle_id', NUMBER, nullable=True),
    sa.Column('actor', sa.String(length=120), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('undone_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('undone_by', sa.String(length=120), nullable=True),
    sa.ForeignKeyConstraint(['cycle_id'], ['cycles.id'], name=op.f('fk_decisions_cycle_id_cycles')),
    sa.ForeignKeyConstraint(['image_id'], ['images.id'], name=op.f('fk_decisions_image_id_images')),
    sa.ForeignKeyConstraint(['mode_id'], ['modes.id'], name=op.f('fk_decisions_mode_id_modes')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_decisions'))
    )
    with op.batch_alter_table('decisions', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_decisions_kind'), ['kind'], unique=False)
        batch_op.create_index(batch_op.f('ix_decisions_mode_id'), ['mode_id'], unique=False)
        batch_op.create_index(batch_op.f('ix_decisions_image_id'), ['image_id'], unique=False)
        batch_op.create_index(batch_op.f('ix_decisions_undone_at'), ['undone_at'], unique=False)

    op.create_table('second_looks',
    sa.Column('task_id', NUMBER, nullable=False),
    sa.Column('state', sa.String(length=16), nullable=False),
    sa.Column('first', sa.JSON(), nullable=False),
    sa.Column('first_author', sa.String(length=120), nullable=False),
    sa.Column('first_token', sa.Integer(), nullable=False),
    sa.Column('first_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('second', sa.JSON(), nullable=True),
    sa.Column('second_author', sa.String(length=120), nullable=True),
    sa.Column('second_token', sa.Integer(), nullable=True),
    sa.Column('second_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('counts', sa.JSON(), nullable=False),
    sa.Column('taken', sa.String(length=8), nullable=True),
    sa.Column('settled_by', sa.String(length=120), nullable=True),
    sa.Column('settled_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('note', sa.Text(), nullable=False),
    sa.ForeignKeyConstraint(['task_id'], ['label_tasks.id'], name=op.f('fk_second_looks_task_id_label_tasks')),
    sa.PrimaryKeyConstraint('task_id', name=op.f('pk_second_looks'))
    )
    with op.batch_alter_table('second_looks', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_second_looks_state'), ['state'], unique=False)

    with op.batch_alter_table('cycles', schema=None) as batch_op:
        batch_op.add_column(sa.Column('plan_id', sa.String(length=64), nullable=True))
        batch_op.create_foreign_key(batch_op.f('fk_cycles_plan_id_plans'), 'plans', ['plan_id'], ['id'])


def downgrade() -> None:
    with op.batch_alter_table('cycles', schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f('fk_cycles_plan_id_plans'), type_='foreignkey')
        batch_op.drop_column('plan_id')

    op.drop_table('second_looks')
    op.drop_table('decisions')
    op.drop_table('plans')
