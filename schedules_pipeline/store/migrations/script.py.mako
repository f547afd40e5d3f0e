"""${message}

Revision ID: ${up_revision}
Revises: ${down_revision | comma,n}
"""

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A migration that waits for a lock holds up everybody who comes after it: give up early.
    op.execute("set local lock_timeout = '5s'")
    ${upgrades if upgrades else "pass"}
