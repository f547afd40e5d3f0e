"""`clock_heartbeat`: one row that says when the clock last ticked."""

from sqlalchemy import Connection, text

from schedules_pipeline.services.stored import Heartbeat


class PostgresHeartbeat:
    """See `services.store_port.HeartbeatRepository`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def read(self) -> Heartbeat | None:
        """None before the first tick."""
        row = self._connection.execute(
            text("select ticked_at, tick_no, series_since from clock_heartbeat")
        ).first()
        return None if row is None else Heartbeat(**row._mapping)

    def write(self, heartbeat: Heartbeat) -> None:
        """There is one row."""
        self._connection.execute(
            text("""
                insert into clock_heartbeat (ticked_at, tick_no, series_since)
                values (:ticked_at, :tick_no, :series_since)
                on conflict (only_row) do update
                set ticked_at = excluded.ticked_at, tick_no = excluded.tick_no,
                    series_since = excluded.series_since
            """),
            {
                "ticked_at": heartbeat.ticked_at,
                "tick_no": heartbeat.tick_no,
                "series_since": heartbeat.series_since,
            },
        )
