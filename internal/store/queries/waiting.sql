-- name: InsertWaiting :execrows
INSERT INTO waiting (sha256, id, state, created, ends, size, draft, header, salt) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING;

-- What waits no more cannot be opened from here.
-- name: EndWaiting :execrows
UPDATE waiting SET state = $2, header = NULL, salt = NULL WHERE sha256 = $1 AND state = 'waiting';

-- name: Waiting :one
SELECT sha256, id, state, created, ends, size, draft, header, salt FROM waiting WHERE sha256 = $1;

-- name: WaitingByID :one
SELECT sha256, id, state, created, ends, size, draft, header, salt FROM waiting WHERE id = $1;

-- The releases whose id begins so, two of them, so that it is seen when there are several.
-- name: WaitingByPrefix :many
SELECT sha256, id, state, created, ends, size, draft, header, salt FROM waiting
WHERE substr(id, 1, CAST(sqlc.arg(length) AS INTEGER)) = CAST(sqlc.arg(id) AS TEXT) ORDER BY id LIMIT 2;

-- name: CountWaiting :one
SELECT count(*) FROM waiting WHERE state = 'waiting';

-- name: WaitingByEnd :many
SELECT sha256, id, state, created, ends, size, draft, header, salt FROM waiting WHERE state = 'waiting' ORDER BY ends, sha256 LIMIT $1;

-- Newest first, from a place on; the place may be inside one release with several recipients. Those that were approved are manifests.
-- name: WaitingBefore :many
SELECT sha256, id, state, created, ends, size, draft, header, salt FROM waiting
WHERE (state <> 'approved' OR CAST(sqlc.arg(everything) AS BOOLEAN))
    AND created <= sqlc.arg(created) AND (created < sqlc.arg(created) OR sha256 <= sqlc.arg(sha256))
ORDER BY created DESC, sha256 DESC LIMIT sqlc.arg(most);

-- name: WaitingFrom :many
SELECT sha256, id, state, created, ends, size, draft, header, salt FROM waiting WHERE sha256 >= $1 ORDER BY sha256 LIMIT $2;
