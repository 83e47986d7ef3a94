-- name: InsertStatement :exec
INSERT INTO statement (sha256, kind, raw) VALUES ($1, $2, $3) ON CONFLICT (sha256) DO NOTHING;

-- name: Statement :one
SELECT raw FROM statement WHERE sha256 = $1;

-- known counts the rows of the statement's own table that name it. A new table of statements needs a line here.
-- name: StatementsFrom :many
SELECT s.sha256, s.kind, s.raw, CAST(CASE s.kind
    WHEN 'charter' THEN (SELECT count(*) FROM charter t WHERE t.sha256 = s.sha256)
    WHEN 'amendment' THEN (SELECT count(*) FROM amendment t WHERE t.sha256 = s.sha256)
    WHEN 'card' THEN (SELECT count(*) FROM card t WHERE t.sha256 = s.sha256)
    WHEN 'agreement' THEN (SELECT count(*) FROM agreement t WHERE t.sha256 = s.sha256)
    WHEN 'manifest' THEN (SELECT count(*) FROM manifest t WHERE t.sha256 = s.sha256)
    WHEN 'receipt' THEN (SELECT count(*) FROM receipt t WHERE t.sha256 = s.sha256)
    WHEN 'notice' THEN (SELECT count(*) FROM notice t WHERE t.sha256 = s.sha256)
    WHEN 'reconciliation' THEN (SELECT count(*) FROM reconciliation t WHERE t.sha256 = s.sha256)
    ELSE 0 END AS BIGINT) AS known
FROM statement s WHERE s.sha256 >= $1 ORDER BY s.sha256 LIMIT $2;

-- name: CharterByHash :one
SELECT version FROM charter WHERE sha256 = $1;

-- name: CardByHash :one
SELECT sha256 FROM card WHERE sha256 = $1;

-- name: InsertCharter :execrows
INSERT INTO charter (version, sha256) VALUES ($1, $2) ON CONFLICT DO NOTHING;

-- name: CharterByVersion :one
SELECT sha256 FROM charter WHERE version = $1;

-- name: Charters :many
SELECT c.version, c.sha256, s.raw FROM charter c JOIN statement s ON s.sha256 = c.sha256 ORDER BY c.version;

-- name: InsertAmendment :execrows
INSERT INTO amendment (sha256, version, previous) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING;

-- name: Amendments :many
SELECT a.sha256, a.version, a.previous, s.raw FROM amendment a JOIN statement s ON s.sha256 = a.sha256 ORDER BY a.version, a.sha256;

-- name: AmendmentByHash :one
SELECT sha256 FROM amendment WHERE sha256 = $1;

-- name: InsertCard :execrows
INSERT INTO card (sha256, member, version) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING;

-- name: Cards :many
SELECT c.member, c.version, c.sha256, s.raw FROM card c JOIN statement s ON s.sha256 = c.sha256 ORDER BY c.member, c.version, c.sha256;

-- name: InsertAgreement :execrows
INSERT INTO agreement (sha256, name, version, at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING;

-- name: AgreementByVersion :one
SELECT sha256 FROM agreement WHERE name = $1 AND version = $2;

-- name: Agreements :many
SELECT a.sha256, a.name, a.version, a.at, s.raw FROM agreement a JOIN statement s ON s.sha256 = a.sha256 ORDER BY a.name, a.version;

-- name: AgreementByHash :one
SELECT a.sha256, a.name, a.version, a.at, s.raw FROM agreement a JOIN statement s ON s.sha256 = a.sha256 WHERE a.sha256 = $1;

-- name: AgreementByName :one
SELECT a.sha256, a.name, a.version, a.at, s.raw FROM agreement a JOIN statement s ON s.sha256 = a.sha256
WHERE a.name = $1 ORDER BY a.version DESC LIMIT 1;

-- name: Generation :one
SELECT CAST((SELECT count(*) FROM charter) + (SELECT count(*) FROM amendment) + (SELECT count(*) FROM card) + (SELECT count(*) FROM agreement) + (SELECT count(*) FROM notice) AS BIGINT) AS generation;

-- name: InsertReconciliation :execrows
INSERT INTO reconciliation (sha256, peer, since, until) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING;

-- name: ReconciliationByHash :one
SELECT peer FROM reconciliation WHERE sha256 = $1;

-- name: ReconciliationsFrom :many
SELECT sha256, peer, since, until FROM reconciliation WHERE sha256 >= $1 ORDER BY sha256 LIMIT $2;
