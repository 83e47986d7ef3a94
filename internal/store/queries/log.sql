-- name: Size :one
SELECT CAST(COALESCE(MAX(idx) + 1, 0) AS BIGINT) AS size FROM leaf;

-- name: InsertLeaf :exec
INSERT INTO leaf (idx, body, about) VALUES ($1, $2, $3);

-- name: Leaf :one
SELECT body FROM leaf WHERE idx = $1;

-- name: Leaves :many
SELECT idx, body FROM leaf WHERE idx >= $1 ORDER BY idx LIMIT $2;

-- name: LeavesFrom :many
SELECT idx, body, about FROM leaf WHERE idx >= $1 ORDER BY idx LIMIT $2;

-- name: LeavesAbout :many
SELECT idx, body FROM leaf WHERE about = $1 AND idx >= $2 ORDER BY idx LIMIT $3;

-- name: InsertPrivate :exec
INSERT INTO private (leaf, field, salt, value) VALUES ($1, $2, $3, $4);

-- name: Private :many
SELECT field, salt, value FROM private WHERE leaf = $1 ORDER BY field;

-- name: PrivateAfter :many
SELECT leaf, field, salt, value FROM private
WHERE leaf > sqlc.arg(leaf) OR (leaf = sqlc.arg(leaf) AND field > sqlc.arg(field))
ORDER BY leaf, field LIMIT sqlc.arg(most);

-- name: PrivateField :one
SELECT value FROM private WHERE leaf = $1 AND field = $2;

-- name: InsertHash :exec
INSERT INTO tree (idx, hash) VALUES ($1, $2);

-- name: Hash :one
SELECT hash FROM tree WHERE idx = $1;

-- name: HashesFrom :many
SELECT idx, hash FROM tree WHERE idx >= $1 ORDER BY idx LIMIT $2;

-- name: Checkpoint :one
SELECT size, note FROM checkpoint ORDER BY size DESC LIMIT 1;

-- name: Checkpoints :many
SELECT size, note FROM checkpoint ORDER BY size;

-- name: InsertCheckpoint :exec
INSERT INTO checkpoint (size, note) VALUES ($1, $2) ON CONFLICT (size) DO UPDATE SET note = excluded.note;

-- name: DeleteCheckpointsBelow :exec
DELETE FROM checkpoint WHERE size < $1;
