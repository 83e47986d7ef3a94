-- name: InsertManifest :execrows
INSERT INTO manifest (sha256, sender, id, created, size, header, salt, payload) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING;

-- name: Manifest :one
SELECT m.sha256, m.sender, m.id, m.created, m.size, s.raw FROM manifest m JOIN statement s ON s.sha256 = m.sha256 WHERE m.sha256 = $1;

-- name: ManifestByID :one
SELECT m.sha256, m.sender, m.id, m.created, m.size, s.raw FROM manifest m JOIN statement s ON s.sha256 = m.sha256
WHERE m.sender = $1 AND m.id = $2;

-- name: Header :one
SELECT header FROM manifest WHERE sha256 = $1;

-- What the document of a manifest is, apart from the manifest.
-- name: Sealed :one
SELECT header, payload FROM manifest WHERE sha256 = $1;

-- What is needed to deliver a document, if it still waits for that.
-- name: Outgoing :one
SELECT s.raw, m.header, m.payload FROM outbox o LEFT JOIN manifest m ON m.sha256 = o.statement LEFT JOIN statement s ON s.sha256 = o.statement
WHERE o.peer = $1 AND o.kind = 'document' AND o.statement = $2;

-- name: Salt :one
SELECT salt FROM manifest WHERE sha256 = $1;

-- name: Held :one
SELECT CAST(COALESCE(SUM(size + length(header) + CAST(sqlc.arg(extra) AS BIGINT)), 0) AS BIGINT) AS held FROM manifest
WHERE sender = sqlc.arg(sender) AND length(header) IS NOT NULL;

-- name: ManifestRow :one
SELECT sha256, sender, id, created, size, header, salt, payload FROM manifest WHERE sha256 = $1;

-- Every hash that a row about exchanges names as its manifest, whether there is one or not, and what leaves are about.
-- name: CasesFrom :many
SELECT c.hash FROM (
    SELECT a.hash FROM (SELECT m.sha256 AS hash FROM manifest m WHERE m.sha256 >= sqlc.arg(first) ORDER BY m.sha256 LIMIT sqlc.arg(most)) AS a
    UNION SELECT b.hash FROM (SELECT x.manifest AS hash FROM exchange x WHERE x.manifest >= sqlc.arg(first) ORDER BY x.manifest LIMIT sqlc.arg(most)) AS b
    UNION SELECT d.hash FROM (SELECT r.manifest AS hash FROM receipt r WHERE r.manifest >= sqlc.arg(first) ORDER BY r.manifest LIMIT sqlc.arg(most)) AS d
    UNION SELECT e.hash FROM (SELECT l.about AS hash FROM leaf l WHERE l.about >= sqlc.arg(first) ORDER BY l.about LIMIT sqlc.arg(most)) AS e
) AS c ORDER BY c.hash LIMIT sqlc.arg(most);

-- name: Counts :one
SELECT CAST((SELECT count(*) FROM manifest) AS BIGINT) AS manifests, CAST((SELECT count(*) FROM exchange) AS BIGINT) AS exchanges,
    CAST((SELECT count(*) FROM receipt) AS BIGINT) AS receipts;

-- name: InsertExchange :execrows
INSERT INTO exchange (manifest, recipient, state, updated) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING;

-- name: SetState :execrows
UPDATE exchange SET state = $3, updated = $4 WHERE manifest = $1 AND recipient = $2;

-- name: Exchange :one
SELECT e.manifest, m.sender, m.id, e.recipient, e.state, e.updated, m.created, m.size,
    CAST(COALESCE(o.attempts, 0) AS BIGINT) AS attempts, CAST(COALESCE(o.due, 0) AS BIGINT) AS due,
    CAST(COALESCE(o.last_error, '') AS TEXT) AS last_error
FROM exchange e JOIN manifest m ON m.sha256 = e.manifest
LEFT JOIN outbox o ON o.peer = e.recipient AND o.kind = 'document' AND o.statement = e.manifest
WHERE e.manifest = $1 AND e.recipient = $2;

-- Newest first. Empty arguments do not filter; the cursor is the (created, manifest, recipient) of the last row seen.
-- name: Exchanges :many
SELECT e.manifest, m.sender, m.id, e.recipient, e.state, e.updated, m.created, m.size,
    CAST(COALESCE(o.attempts, 0) AS BIGINT) AS attempts, CAST(COALESCE(o.due, 0) AS BIGINT) AS due,
    CAST(COALESCE(o.last_error, '') AS TEXT) AS last_error
FROM manifest m JOIN exchange e ON e.manifest = m.sha256
LEFT JOIN outbox o ON o.peer = e.recipient AND o.kind = 'document' AND o.statement = e.manifest
WHERE (CAST(sqlc.arg(sender) AS TEXT) = '' OR m.sender = CAST(sqlc.arg(sender) AS TEXT))
    AND (CAST(sqlc.arg(id) AS TEXT) = '' OR m.id = CAST(sqlc.arg(id) AS TEXT))
    AND (CAST(sqlc.arg(recipient) AS TEXT) = '' OR e.recipient = CAST(sqlc.arg(recipient) AS TEXT))
    AND m.created <= sqlc.arg(created)
    AND (m.created < sqlc.arg(created) OR m.sha256 < sqlc.arg(manifest)
        OR (m.sha256 = sqlc.arg(manifest) AND e.recipient > CAST(sqlc.arg(after_recipient) AS TEXT)))
ORDER BY m.created DESC, m.sha256 DESC, e.recipient LIMIT sqlc.arg(most);

-- The exchanges that a reference may mean, by what of it is exact, so that an index serves each. A length of 0 makes a prefix fit all.
-- name: ExchangesByName :many
SELECT e.manifest, m.sender, m.id, e.recipient FROM manifest m JOIN exchange e ON e.manifest = m.sha256
WHERE m.sender = sqlc.arg(sender) AND m.id = sqlc.arg(id)
    AND substr(e.recipient, 1, CAST(sqlc.arg(recipient_length) AS INTEGER)) = CAST(sqlc.arg(recipient) AS TEXT)
ORDER BY m.sender, m.id, e.recipient LIMIT sqlc.arg(most);

-- name: ExchangesByID :many
SELECT e.manifest, m.sender, m.id, e.recipient FROM manifest m JOIN exchange e ON e.manifest = m.sha256
WHERE m.id = sqlc.arg(id)
ORDER BY m.sender, m.id, e.recipient LIMIT sqlc.arg(most);

-- name: ExchangesBySender :many
SELECT e.manifest, m.sender, m.id, e.recipient FROM manifest m JOIN exchange e ON e.manifest = m.sha256
WHERE m.sender = sqlc.arg(sender)
    AND substr(m.id, 1, CAST(sqlc.arg(id_length) AS INTEGER)) = CAST(sqlc.arg(id) AS TEXT)
ORDER BY m.sender, m.id, e.recipient LIMIT sqlc.arg(most);

-- No index serves this one.
-- name: ExchangesByPrefix :many
SELECT e.manifest, m.sender, m.id, e.recipient FROM manifest m JOIN exchange e ON e.manifest = m.sha256
WHERE substr(m.sender, 1, CAST(sqlc.arg(sender_length) AS INTEGER)) = CAST(sqlc.arg(sender) AS TEXT)
    AND substr(m.id, 1, CAST(sqlc.arg(id_length) AS INTEGER)) = CAST(sqlc.arg(id) AS TEXT)
ORDER BY m.sender, m.id, e.recipient LIMIT sqlc.arg(most);

-- name: ExchangesOf :many
SELECT recipient, state FROM exchange WHERE manifest = $1 ORDER BY recipient;

-- name: InsertReceipt :execrows
INSERT INTO receipt (sha256, manifest, member, kind) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING;

-- name: Receipt :one
SELECT s.raw FROM receipt r JOIN statement s ON s.sha256 = r.sha256 WHERE r.manifest = $1 AND r.member = $2 AND r.kind = $3;

-- name: ReceiptHash :one
SELECT sha256 FROM receipt WHERE manifest = $1 AND member = $2 AND kind = $3;

-- name: Receipts :many
SELECT s.raw FROM receipt r JOIN statement s ON s.sha256 = r.sha256 WHERE r.manifest = $1 AND r.member = $2 ORDER BY r.kind DESC;

-- name: ReceiptsAbout :many
SELECT sha256, manifest, member, kind FROM receipt WHERE manifest = $1 ORDER BY member, kind;

-- The manifests exchanged with a peer that were created in a period, from behind the last one seen.
-- name: ManifestsBetween :many
SELECT m.sha256, m.created FROM manifest m JOIN exchange e ON e.manifest = m.sha256
WHERE m.created >= sqlc.arg(since) AND m.created < sqlc.arg(until) AND (m.sender = sqlc.arg(peer) OR e.recipient = sqlc.arg(peer))
    AND (m.created > sqlc.arg(after) OR (m.created = sqlc.arg(after) AND m.sha256 > sqlc.arg(manifest)))
ORDER BY m.created, m.sha256 LIMIT sqlc.arg(most);
