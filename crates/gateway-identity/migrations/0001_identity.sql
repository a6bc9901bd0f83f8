-- The same schema for SQLite and PostgreSQL: texts and 64-bit numbers only. Times are milliseconds since 1970.

CREATE TABLE identity_users (
    id           TEXT   NOT NULL PRIMARY KEY,
    email        TEXT   NOT NULL,
    email_key    TEXT   NOT NULL UNIQUE,
    username     TEXT,
    username_key TEXT   UNIQUE,
    password     TEXT   NOT NULL,
    profile      TEXT   NOT NULL,
    roles        TEXT   NOT NULL,
    disabled     BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL
);

-- Not bound to the user: a session of a deleted account is still listed among the revoked ones.
CREATE TABLE identity_sessions (
    id           TEXT   NOT NULL PRIMARY KEY,
    user_id      TEXT   NOT NULL,
    created_at   BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    revoked_at   BIGINT,
    user_agent   TEXT   NOT NULL,
    address      TEXT   NOT NULL
);
CREATE INDEX identity_sessions_user ON identity_sessions (user_id, created_at);
CREATE INDEX identity_sessions_revoked ON identity_sessions (revoked_at);

-- One row per refresh token, by its SHA-256. `next_salt` makes the successor of a used one, with the used one itself.
CREATE TABLE identity_refresh_tokens (
    hash       TEXT   NOT NULL PRIMARY KEY,
    session_id TEXT   NOT NULL REFERENCES identity_sessions (id) ON DELETE CASCADE,
    expires_at BIGINT NOT NULL,
    used_at    BIGINT,
    next_salt  TEXT
);
CREATE INDEX identity_refresh_tokens_session ON identity_refresh_tokens (session_id);

-- `sequence` tells keys apart that sign from the same time: the later one is used.
CREATE TABLE identity_signing_keys (
    kid        TEXT   NOT NULL PRIMARY KEY,
    sequence   BIGINT NOT NULL,
    algorithm  TEXT   NOT NULL,
    private    TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    signs_from BIGINT NOT NULL
);

CREATE TABLE identity_throttles (
    name          TEXT   NOT NULL PRIMARY KEY,
    failures      BIGINT NOT NULL,
    last_at       BIGINT NOT NULL,
    blocked_until BIGINT NOT NULL
);

-- Whoever updates the row first goes first; the others wait.
CREATE TABLE identity_locks (
    name    TEXT   NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL
);
INSERT INTO identity_locks (name, version) VALUES ('signing-keys', 0);
