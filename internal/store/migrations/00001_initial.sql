-- The portable subset of SQL, read alike by SQLite and PostgreSQL: BIGINT microseconds since 1970 for times (UTC), BYTEA for
-- bytes, no defaults, no generated keys. A SHA-256 is 32 bytes. Nothing here is a secret key, and no document's plaintext.
--
-- The keys of the log are INTEGER, where PostgreSQL would say BIGINT: only under that name SQLite keeps the rows of a table in the order of such a
-- key, of 64 bits, without a second tree beside them that every commit would write to.
--
-- Every column but the bookkeeping ones (updated; attempts, due, last_error; table witness; cosigned.at) can be derived from the statements and the
-- log, and audit.VerifyHome derives it: a change by hand is found.

-- +goose Up

-- Statements as they were signed. Never changed, never marshalled again.
CREATE TABLE statement (
    sha256 BYTEA NOT NULL PRIMARY KEY,
    kind   TEXT  NOT NULL,
    raw    BYTEA NOT NULL
);

-- The founding charter. At most one row.
CREATE TABLE charter (
    version BIGINT NOT NULL PRIMARY KEY,
    sha256  BYTEA  NOT NULL UNIQUE REFERENCES statement (sha256)
);

-- Amendments of the charter, each the version after the one that previous names. There may be several after one version: two that quorums signed
-- are a fork, and stay as proof of it.
CREATE TABLE amendment (
    sha256   BYTEA  NOT NULL PRIMARY KEY REFERENCES statement (sha256),
    version  BIGINT NOT NULL,
    previous BYTEA  NOT NULL
);

-- There may be two of one member and version: on two branches of a fork, which admit a newcomer with different cards.
CREATE TABLE card (
    sha256  BYTEA  NOT NULL PRIMARY KEY REFERENCES statement (sha256),
    member  TEXT   NOT NULL,
    version BIGINT NOT NULL
);

-- at is when it came into force here, by our clock: the time of its leaf.
CREATE TABLE agreement (
    sha256  BYTEA  NOT NULL PRIMARY KEY REFERENCES statement (sha256),
    name    TEXT   NOT NULL,
    version BIGINT NOT NULL,
    at      BIGINT NOT NULL,
    UNIQUE (name, version)
);

-- header is the age header: without it the payload cannot be opened. It is NULL where nothing was kept, as for a refused document.
-- salt opens the content commitment and is the sender's alone. payload is the payload of a small document, which saves a file and the waits for
-- it; where it is NULL and header is not, the payload is a blob.
CREATE TABLE manifest (
    sha256  BYTEA  NOT NULL PRIMARY KEY REFERENCES statement (sha256),
    sender  TEXT   NOT NULL,
    id      TEXT   NOT NULL,
    created BIGINT NOT NULL,
    size    BIGINT NOT NULL,
    header  BYTEA,
    salt    BYTEA,
    payload BYTEA,
    UNIQUE (id, sender)
);
CREATE INDEX manifest_by_time ON manifest (created, sha256);
-- With all that adding up what a sender's documents take needs, so that it reads no row of the table.
CREATE INDEX manifest_by_sender ON manifest (sender, id, size, length(header));

-- One manifest to one recipient. At the sender a row for each recipient, at a recipient one row, its own.
CREATE TABLE exchange (
    manifest  BYTEA  NOT NULL REFERENCES manifest (sha256),
    recipient TEXT   NOT NULL,
    state     TEXT   NOT NULL,
    updated   BIGINT NOT NULL,
    PRIMARY KEY (manifest, recipient)
);

-- manifest has no foreign key: a manifest whose id was taken by another is refused with a receipt, and has no row.
CREATE TABLE receipt (
    sha256   BYTEA NOT NULL PRIMARY KEY REFERENCES statement (sha256),
    manifest BYTEA NOT NULL,
    member   TEXT  NOT NULL,
    kind     TEXT  NOT NULL,
    UNIQUE (manifest, member, kind)
);

-- What still has to reach a peer: a statement, or a proposal. A row goes when it has. large is 1 for a document that keeps a connection busy for long,
-- and 0 for everything else, so that the two do not wait for each other.
CREATE TABLE outbox (
    peer       TEXT   NOT NULL,
    kind       TEXT   NOT NULL,
    statement  BYTEA  NOT NULL,
    large      BIGINT NOT NULL,
    attempts   BIGINT NOT NULL,
    due        BIGINT NOT NULL,
    last_error TEXT   NOT NULL,
    PRIMARY KEY (peer, kind, statement)
);
CREATE INDEX outbox_by_due ON outbox (due);
CREATE INDEX outbox_by_peer ON outbox (peer, large, due, kind, statement);

-- Releases that wait for a second person. draft is the manifest without signature and approval, sha256 that of its text, under which its payload
-- stands among the blobs; state is waiting, approved or lapsed. header and salt are those of manifest, and NULL once it waits no more.
CREATE TABLE waiting (
    sha256  BYTEA  NOT NULL PRIMARY KEY,
    id      TEXT   NOT NULL UNIQUE,
    state   TEXT   NOT NULL,
    created BIGINT NOT NULL,
    ends    BIGINT NOT NULL,
    size    BIGINT NOT NULL,
    draft   BYTEA  NOT NULL,
    header  BYTEA,
    salt    BYTEA
);
CREATE INDEX waiting_by_state ON waiting (state, ends);
CREATE INDEX waiting_by_time ON waiting (created, sha256);

-- What this member and another found when they compared their logs, signed by both.
CREATE TABLE reconciliation (
    sha256 BYTEA  NOT NULL PRIMARY KEY REFERENCES statement (sha256),
    peer   TEXT   NOT NULL,
    since  BIGINT NOT NULL,
    until  BIGINT NOT NULL
);

-- Agreements that were proposed: sha256 is the text's, raw the text with the signatures so far, which grows until it is complete. state is open,
-- concluded, declined or ended; only bookkeeping about an open one may be lost.
CREATE TABLE proposal (
    sha256   BYTEA  NOT NULL PRIMARY KEY,
    name     TEXT   NOT NULL,
    version  BIGINT NOT NULL,
    proposer TEXT   NOT NULL,
    state    TEXT   NOT NULL,
    at       BIGINT NOT NULL,
    raw      BYTEA  NOT NULL
);
CREATE INDEX proposal_by_state ON proposal (state, at);

-- What parties told each other about agreements: that they decline a proposal, or withdraw. about is the agreement's text, ends when a
-- withdrawal takes effect, and 0 otherwise.
CREATE TABLE notice (
    sha256 BYTEA  NOT NULL PRIMARY KEY REFERENCES statement (sha256),
    kind   TEXT   NOT NULL,
    member TEXT   NOT NULL,
    about  BYTEA  NOT NULL,
    ends   BIGINT NOT NULL,
    UNIQUE (about, member, kind)
);

-- The log: leaves, what is private behind them, and the hashes of the Merkle tree in the order of
-- golang.org/x/mod/sumdb/tlog.StoredHashIndex. Rows are only ever added.
--
-- at repeats the leaf's time. about is the manifest that a leaf names, or else the statement that it names, so that all leaves about one exchange are
-- found without reading the log; NULL where it names neither.
CREATE TABLE leaf (
    idx   INTEGER NOT NULL PRIMARY KEY,
    at    BIGINT  NOT NULL,
    body  BYTEA   NOT NULL,
    about BYTEA
);
CREATE INDEX leaf_by_time ON leaf (at, idx);
CREATE INDEX leaf_by_about ON leaf (about, idx);

CREATE TABLE private (
    leaf  BIGINT NOT NULL REFERENCES leaf (idx),
    field TEXT   NOT NULL,
    salt  BYTEA  NOT NULL,
    value BYTEA  NOT NULL,
    PRIMARY KEY (leaf, field)
);

CREATE TABLE tree (
    idx  INTEGER NOT NULL PRIMARY KEY,
    hash BYTEA   NOT NULL
);

-- The newest checkpoint, as it was signed. At most one row.
CREATE TABLE checkpoint (
    size INTEGER NOT NULL PRIMARY KEY,
    note BYTEA   NOT NULL
);

-- Checkpoints of our log with one quorum's co-signatures: since when a quorum had seen what they cover. at is when we had the quorum, by our
-- clock. The older they are, the fewer are kept.
CREATE TABLE cosigned (
    size INTEGER NOT NULL PRIMARY KEY,
    at   BIGINT  NOT NULL,
    note BYTEA   NOT NULL
);
CREATE INDEX cosigned_by_time ON cosigned (at, size);

-- What is known of each witness of our log: the size that it last co-signed and when by its clock, when we last asked, and what went wrong.
-- Bookkeeping, all of it: the witness itself says what it holds.
CREATE TABLE witness (
    name       TEXT   NOT NULL PRIMARY KEY,
    size       BIGINT NOT NULL,
    at         BIGINT NOT NULL,
    asked      BIGINT NOT NULL,
    last_error TEXT   NOT NULL
);

-- Proofs that somebody's log forked, ours too. sha256 is that of raw.
CREATE TABLE fork (
    sha256 BYTEA NOT NULL PRIMARY KEY,
    log    TEXT  NOT NULL,
    raw    BYTEA NOT NULL
);
CREATE INDEX fork_by_log ON fork (log);

-- The member's own rules as they were when something was decided by them, so that the decision can be made again.
CREATE TABLE house (
    sha256 BYTEA NOT NULL PRIMARY KEY,
    text   TEXT  NOT NULL
);

-- +goose Down
DROP TABLE house;
DROP TABLE fork;
DROP TABLE witness;
DROP TABLE cosigned;
DROP TABLE checkpoint;
DROP TABLE tree;
DROP TABLE private;
DROP TABLE leaf;
DROP TABLE notice;
DROP TABLE proposal;
DROP TABLE reconciliation;
DROP TABLE waiting;
DROP TABLE outbox;
DROP TABLE receipt;
DROP TABLE exchange;
DROP TABLE manifest;
DROP TABLE agreement;
DROP TABLE card;
DROP TABLE amendment;
DROP TABLE charter;
DROP TABLE statement;
