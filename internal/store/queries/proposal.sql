-- name: InsertProposal :execrows
INSERT INTO proposal (sha256, name, version, proposer, state, at, raw) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING;

-- name: SetProposal :execrows
UPDATE proposal SET state = $2, raw = $3 WHERE sha256 = $1;

-- name: Proposal :one
SELECT sha256, name, version, proposer, state, at, raw FROM proposal WHERE sha256 = $1;

-- name: ProposalsNamed :many
SELECT sha256, name, version, proposer, state, at, raw FROM proposal WHERE name = $1 AND state = $2 ORDER BY at, sha256;

-- Newest first. An empty state fits all.
-- name: Proposals :many
SELECT sha256, name, version, proposer, state, at, raw FROM proposal
WHERE CAST(sqlc.arg(state) AS TEXT) = '' OR state = CAST(sqlc.arg(state) AS TEXT) ORDER BY at DESC, sha256 LIMIT sqlc.arg(most);

-- name: CountProposals :one
SELECT count(*) AS n FROM proposal WHERE state = $1 AND proposer = $2;

-- What is still open and was taken before a time.
-- name: EndProposals :execrows
UPDATE proposal SET state = sqlc.arg(ended) WHERE state = sqlc.arg(open) AND at < sqlc.arg(before);

-- Other texts of a version that is concluded, and those of versions before it.
-- name: SupersedeProposals :execrows
UPDATE proposal SET state = sqlc.arg(ended) WHERE state = sqlc.arg(open) AND name = sqlc.arg(name) AND version <= sqlc.arg(version);

-- name: ProposalsFrom :many
SELECT sha256, name, version, proposer, state, at, raw FROM proposal WHERE sha256 >= $1 ORDER BY sha256 LIMIT $2;

-- name: InsertNotice :execrows
INSERT INTO notice (sha256, kind, member, about, ends) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING;

-- name: NoticesAbout :many
SELECT n.sha256, n.kind, n.member, n.about, n.ends, s.raw FROM notice n JOIN statement s ON s.sha256 = n.sha256
WHERE n.about = $1 ORDER BY n.kind, n.member;

-- name: NoticeByHash :one
SELECT member FROM notice WHERE sha256 = $1;

-- name: NoticesFrom :many
SELECT sha256, kind, member, about, ends FROM notice WHERE sha256 >= $1 ORDER BY sha256 LIMIT $2;
