// Package sqlc is the queries of internal/store as Go code, written by `make generate` from queries/ and migrations/.
package sqlc
