package audit

import (
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"entente.example/internal/store"
)

// HashTile gives a hash tile of the log as it was when it had that size, by the name that C2SP tlog-tiles gives it, tile/L/N or
// tile/L/N.p/W. store.ErrNotFound if there is none, if the name is not in its one spelling, or if it names entries, which are not
// for everybody.
func HashTile(v *store.View, size int64, path string) ([]byte, error) {
	t, ok := parseTilePath(path)
	if !ok || t.L < 0 || t.W > tileWidth(t.L, t.N, size) {
		return nil, fmt.Errorf("tile %.80q: %w", path, store.ErrNotFound)
	}
	hashes, err := tlog.ReadTileData(t, v.Hashes())
	if err != nil {
		return nil, missing(err)
	}
	return hashes, nil
}
