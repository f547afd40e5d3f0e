"""How a connection to PostgreSQL is made, whoever makes it."""

# A peer that is gone without a word is noticed within half a minute.
KEEPALIVE = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
