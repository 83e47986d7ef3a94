-- name: Enqueue :execrows
INSERT INTO outbox (peer, kind, statement, large, attempts, due, last_error) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING;

-- name: Dequeue :execrows
DELETE FROM outbox WHERE peer = $1 AND kind = $2 AND statement = $3;

-- name: Retry :execrows
UPDATE outbox SET attempts = $4, due = $5, last_error = $6 WHERE peer = $1 AND kind = $2 AND statement = $3;

-- name: Attempts :one
SELECT attempts FROM outbox WHERE peer = $1 AND kind = $2 AND statement = $3;

-- The next peer for which something waits.
-- name: NextPeer :one
SELECT peer FROM outbox WHERE peer > $1 ORDER BY peer LIMIT 1;

-- name: DueOf :many
SELECT peer, kind, statement, large, attempts, due, last_error FROM outbox
WHERE peer = $1 AND large = $2 AND due <= $3 ORDER BY due, kind, statement LIMIT $4;

-- All that waits for a peer is due now.
-- name: Hasten :execrows
UPDATE outbox SET due = sqlc.arg(now) WHERE due > sqlc.arg(now) AND peer = sqlc.arg(peer);

-- name: DueLater :many
SELECT peer, kind, statement, large, attempts, due, last_error FROM outbox WHERE due > $1 ORDER BY due LIMIT $2;

-- name: NextDue :one
SELECT due FROM outbox WHERE due > $1 ORDER BY due LIMIT 1;

-- name: OutboxFrom :many
SELECT peer, kind, statement, large, attempts, due, last_error FROM outbox
WHERE peer > sqlc.arg(peer) OR (peer = sqlc.arg(peer) AND (kind > sqlc.arg(kind)
    OR (kind = sqlc.arg(kind) AND statement >= sqlc.arg(statement))))
ORDER BY peer, kind, statement LIMIT sqlc.arg(most);

-- name: OutboxOf :many
SELECT peer, kind, statement, large, attempts, due, last_error FROM outbox WHERE kind = $1 AND statement = $2 ORDER BY peer;

-- How much waits for each peer, and since when the oldest document of it, by when it was signed; 0 if no document waits.
-- name: OutboxDepths :many
SELECT o.peer, COUNT(*) AS items, CAST(COALESCE(MIN(m.created), 0) AS BIGINT) AS oldest
FROM outbox AS o LEFT JOIN manifest AS m ON o.kind = 'document' AND m.sha256 = o.statement
GROUP BY o.peer ORDER BY o.peer;

-- name: Documents :one
SELECT count(*) FROM outbox WHERE peer = $1 AND kind = 'document';
