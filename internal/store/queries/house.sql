-- name: InsertHouse :exec
INSERT INTO house (sha256, text) VALUES ($1, $2) ON CONFLICT (sha256) DO NOTHING;

-- name: House :one
SELECT text FROM house WHERE sha256 = $1;

-- name: HouseFrom :many
SELECT sha256, text FROM house WHERE sha256 >= $1 ORDER BY sha256 LIMIT $2;
