-- name: Enqueue :execrows
INSERT INTO outbox (peer, kind, statement, attempts, due, last_error) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING;

-- name: Dequeue :execrows
DELETE FROM outbox WHERE peer = $1 AND kind = $2 AND statement = $3;

-- name: Retry :execrows
UPDATE outbox SET attempts = $4, due = $5, last_error = $6 WHERE peer = $1 AND kind = $2 AND statement = $3;

-- Only the first few of each peer: otherwise one that is silent hides the others.
-- name: Due :many
SELECT peer, kind, statement, attempts, due, last_error FROM (
    SELECT peer, kind, statement, attempts, due, last_error, ROW_NUMBER() OVER (PARTITION BY peer ORDER BY due, kind, statement) AS place
    FROM outbox WHERE due <= sqlc.arg(now)) AS d
WHERE place <= CAST(sqlc.arg(each) AS BIGINT) ORDER BY due, peer, kind, statement LIMIT sqlc.arg(most);

-- name: NextDue :one
SELECT due FROM outbox WHERE due > $1 ORDER BY due LIMIT 1;

-- name: OutboxFrom :many
SELECT peer, kind, statement, attempts, due, last_error FROM outbox
WHERE peer > sqlc.arg(peer) OR (peer = sqlc.arg(peer) AND (kind > sqlc.arg(kind)
    OR (kind = sqlc.arg(kind) AND statement >= sqlc.arg(statement))))
ORDER BY peer, kind, statement LIMIT sqlc.arg(most);

-- name: OutboxOf :many
SELECT peer, kind, statement, attempts, due, last_error FROM outbox WHERE kind = $1 AND statement = $2 ORDER BY peer;
