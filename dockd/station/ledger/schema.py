"""The ledger's schema, as migrations from an empty file to the current version.

A released migration is never changed; a change is a further migration.
"""

_CAMERAS = """
CREATE TABLE cameras (
    id TEXT PRIMARY KEY,
    profile TEXT NOT NULL,
    serial TEXT NOT NULL,
    first_seen TEXT NOT NULL
) STRICT
"""

_DOCKINGS = """
CREATE TABLE dockings (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    camera TEXT NOT NULL REFERENCES cameras (id),
    place TEXT NOT NULL,
    began TEXT NOT NULL,
    ended TEXT
) STRICT
"""

_CLIPS = """
CREATE TABLE clips (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    camera TEXT NOT NULL REFERENCES cameras (id),
    docking INTEGER NOT NULL REFERENCES dockings (id),
    path BLOB NOT NULL,
    size INTEGER NOT NULL,
    modified_ns INTEGER NOT NULL,
    kind TEXT NOT NULL,
    event INTEGER NOT NULL,
    recorded_at REAL NOT NULL,
    metadata TEXT NOT NULL,
    state TEXT NOT NULL,
    present INTEGER NOT NULL DEFAULT 1,
    stat TEXT,
    clip_id TEXT,
    plaintext_sha256 TEXT,
    ciphertext_sha256 TEXT,
    ciphertext_size INTEGER,
    manifest TEXT,
    receipt TEXT,
    upload_url TEXT,
    uploaded INTEGER NOT NULL DEFAULT 0,
    wiping INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    problem TEXT,
    found TEXT NOT NULL,
    since TEXT NOT NULL
) STRICT
"""

_ONE_CLIP_A_PATH = """
CREATE UNIQUE INDEX clips_on_camera ON clips (camera, path)
WHERE present AND state != 'wiped'
"""

_UPLOAD_ORDER = """
CREATE INDEX clips_to_upload ON clips (event DESC, recorded_at, id)
WHERE state IN ('spooled', 'uploading')
"""

_JOURNAL = """
CREATE TABLE journal (
    seq INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    event TEXT NOT NULL,
    camera TEXT,
    clip INTEGER,
    detail TEXT NOT NULL,
    prev TEXT NOT NULL,
    hash TEXT NOT NULL
) STRICT
"""

_JOURNAL_KEEPS = [
    f"CREATE TRIGGER journal_no_{name} BEFORE {change} ON journal {condition}"
    " BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END"
    for name, change, condition in (
        ("update", "UPDATE", ""),
        ("delete", "DELETE", ""),
        # INSERT OR REPLACE deletes without firing the trigger above.
        ("insert", "INSERT", "WHEN NEW.seq <= (SELECT max(seq) FROM journal)"),
    )
]

_PAUSES = """
CREATE TABLE pauses (
    what TEXT PRIMARY KEY,
    reason TEXT NOT NULL,
    since TEXT NOT NULL,
    until TEXT,
    uid INTEGER NOT NULL
) STRICT
"""

_OVERVIEW = [
    "CREATE INDEX clips_by_state ON clips (state, present, found)",
    "CREATE INDEX clips_by_camera ON clips (camera, docking, state, present, size)",
    "CREATE INDEX journal_by_clip ON journal (clip) WHERE clip IS NOT NULL",
]
"""The status is counted from these, without reading the wide rows."""

_ANSWERS = [
    "ALTER TABLE clips ADD COLUMN answer TEXT",
    """
    CREATE TABLE anchors (
        kid TEXT PRIMARY KEY,
        seq INTEGER NOT NULL,
        hash TEXT NOT NULL,
        previous_seq INTEGER NOT NULL,
        previous_hash TEXT NOT NULL
    ) STRICT
    """,
]
"""The receiver's answers beside its receipts; the newest anchor that each key has signed."""

_BY_CIPHERTEXT = """
CREATE INDEX clips_by_ciphertext ON clips (ciphertext_sha256)
WHERE ciphertext_sha256 IS NOT NULL
"""
"""For the start, which queries for each file in the spool whether it was delivered."""

_STATES = [
    "UPDATE clips SET state = 'uploaded' WHERE state = 'uploading' AND uploaded",
    "UPDATE clips SET state = 'wiping' WHERE state = 'acknowledged' AND present AND wiping",
    "DROP INDEX clips_to_upload",
    """
    CREATE INDEX clips_to_upload ON clips (event DESC, recorded_at, id)
    WHERE state IN ('spooled', 'uploaded', 'uploading')
    """,
]
"""Makes other columns part of the state. The column ``uploaded`` is unused; dropping it would
rewrite every row. ``wiping`` is the number of a wipe, which alone means nothing.
"""

MIGRATIONS: list[list[str]] = [
    [_CAMERAS, _DOCKINGS, _CLIPS, _ONE_CLIP_A_PATH, _UPLOAD_ORDER, _JOURNAL, *_JOURNAL_KEEPS],
    [_PAUSES, *_OVERVIEW],
    _ANSWERS,
    [_BY_CIPHERTEXT],
    _STATES,
]
"""The migrations; a ledger's ``user_version`` is the number of those that were applied."""

_COLUMNS = (
    "id, camera, docking, path, size, modified_ns, kind, event, recorded_at, metadata, present,"
    " stat, clip_id, plaintext_sha256, ciphertext_sha256, ciphertext_size, manifest, receipt,"
    " upload_url, wiping, error, problem, found, since"
)


def view_of_clips(version: int) -> str | None:
    """Return a view of clips in the current form, for an older ledger opened read-only.

    A temporary view shadows the table of its name. None if the ledger is current.
    """
    if version == len(MIGRATIONS):
        return None
    answer = "answer" if version > MIGRATIONS.index(_ANSWERS) else "NULL AS answer"
    return f"""
    CREATE TEMP VIEW clips AS SELECT {_COLUMNS}, {answer}, CASE
        WHEN state = 'uploading' AND uploaded THEN 'uploaded'
        WHEN state = 'acknowledged' AND present AND wiping THEN 'wiping'
        ELSE state END AS state
    FROM main.clips
    """  # noqa: S608  # literals
