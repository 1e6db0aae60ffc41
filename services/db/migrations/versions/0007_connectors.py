"""labelling tools that are connected, and which task went where"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0007'
down_revision = '0004'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        'connections',
        sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), autoincrement=True, nullable=False),
        sa.Column('kind', sa.String(length=32), nullable=False),
        sa.Column('url', sa.String(length=500), nullable=False),
        sa.Column('project', sa.String(length=64), nullable=True),
        sa.Column('adopted', sa.Boolean(), nullable=False),
        sa.Column('layout', sa.JSON(), nullable=False),
        sa.Column('pictures_url', sa.String(length=500), nullable=False),
        sa.Column('at_once', sa.Integer(), nullable=False),
        sa.Column('secret', sa.String(length=64), nullable=False),
        sa.Column('active', sa.Boolean(), nullable=False),
        sa.Column('cursor', sa.String(length=64), nullable=True),
        sa.Column('busy_until', sa.DateTime(timezone=True), nullable=True),
        sa.Column('nudged_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('tried_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('synced_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('checked_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('failures', sa.Integer(), nullable=False),
        sa.Column('error', sa.Text(), nullable=True),
        sa.Column('notes', sa.JSON(), nullable=False),
        sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_connections')),
    )
    with op.batch_alter_table('connections', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_connections_active'), ['active'], unique=False)
        batch_op.create_index(batch_op.f('ix_connections_kind'), ['kind'], unique=False)

    op.create_table(
        'sent_tasks',
        sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), autoincrement=True, nullable=False),
        sa.Column('connection_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('task_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('image_id', sa.String(length=64), nullable=False),
        sa.Column('token', sa.Integer(), nullable=False),
        sa.Column('state', sa.String(length=16), nullable=False),
        sa.Column('remote_id', sa.String(length=64), nullable=True),
        sa.Column('seen', sa.JSON(), nullable=False),
        sa.Column('annotation_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=True),
        sa.Column('problem', sa.Text(), nullable=True),
        sa.Column('note', sa.Text(), nullable=True),
        sa.Column('loaded_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('expires_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('sent_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(['annotation_id'], ['annotations.id'], name=op.f('fk_sent_tasks_annotation_id_annotations')),
        sa.ForeignKeyConstraint(['connection_id'], ['connections.id'], name=op.f('fk_sent_tasks_connection_id_connections')),
        sa.ForeignKeyConstraint(['image_id'], ['images.id'], name=op.f('fk_sent_tasks_image_id_images')),
        sa.ForeignKeyConstraint(['task_id'], ['label_tasks.id'], name=op.f('fk_sent_tasks_task_id_label_tasks')),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_sent_tasks')),
        sa.UniqueConstraint('connection_id', 'task_id', name=op.f('uq_sent_tasks_connection_id_task_id')),
    )
    with op.batch_alter_table('sent_tasks', schema=None) as batch_op:
        batch_op.create_index('ix_sent_tasks_connection_id_state', ['connection_id', 'state'], unique=False)
        batch_op.create_index(batch_op.f('ix_sent_tasks_task_id'), ['task_id'], unique=False)


def downgrade() -> None:
    op.drop_table('sent_tasks')
    op.drop_table('connections')
