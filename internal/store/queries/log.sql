-- name: Size :one
SELECT CAST(COALESCE(MAX(idx) + 1, 0) AS BIGINT) AS size FROM leaf;

-- name: InsertLeaf :exec
INSERT INTO leaf (idx, at, body, about) VALUES ($1, $2, $3, $4);

-- name: Leaf :one
SELECT body FROM leaf WHERE idx = $1;

-- name: Leaves :many
SELECT idx, body FROM leaf WHERE idx >= $1 ORDER BY idx LIMIT $2;

-- name: LeavesFrom :many
SELECT idx, at, body, about FROM leaf WHERE idx >= $1 ORDER BY idx LIMIT $2;

-- name: LeavesAbout :many
SELECT idx, body FROM leaf WHERE about = $1 AND idx >= $2 ORDER BY idx LIMIT $3;

-- The leaves of a period, in the order of (at, idx), from behind the last one seen.
-- name: LeavesBetween :many
SELECT idx, at, body FROM leaf
WHERE at >= sqlc.arg(since) AND at < sqlc.arg(until) AND (at > sqlc.arg(after) OR (at = sqlc.arg(after) AND idx > sqlc.arg(idx)))
ORDER BY at, idx LIMIT sqlc.arg(most);

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

-- name: InsertCosigned :exec
INSERT INTO cosigned (size, at, note) VALUES ($1, $2, $3) ON CONFLICT (size) DO NOTHING;

-- name: ExtendCosigned :exec
UPDATE cosigned SET note = sqlc.arg(note) WHERE size = sqlc.arg(size) AND note = sqlc.arg(before);

-- name: CosignedSizes :many
SELECT size FROM cosigned ORDER BY size;

-- name: CosignedFrom :many
SELECT size, at, note FROM cosigned WHERE size > $1 ORDER BY size LIMIT $2;

-- name: NewestCosigned :one
SELECT size, at, note FROM cosigned ORDER BY size DESC LIMIT 1;

-- Keeps, of what is older than a time, the first of each span, and the newest in any case.
-- name: ThinCosigned :execrows
DELETE FROM cosigned WHERE cosigned.at < sqlc.arg(older) AND cosigned.size < (SELECT MAX(m.size) FROM cosigned m) AND cosigned.size NOT IN
    (SELECT MIN(c.size) FROM cosigned c GROUP BY c.at / CAST(sqlc.arg(span) AS BIGINT));

-- name: PutWitness :exec
INSERT INTO witness (name, size, at, asked, last_error) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (name) DO UPDATE SET size = excluded.size, at = excluded.at, asked = excluded.asked, last_error = excluded.last_error;

-- name: Witnesses :many
SELECT name, size, at, asked, last_error FROM witness ORDER BY name;

-- name: InsertFork :execrows
INSERT INTO fork (sha256, log, raw) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING;

-- name: Forks :many
SELECT sha256, log, raw FROM fork ORDER BY log, sha256;

-- name: ForksOf :many
SELECT sha256, log, raw FROM fork WHERE log = $1 ORDER BY sha256;

-- name: CountFork :one
SELECT COUNT(*) AS n FROM fork WHERE sha256 = $1;
