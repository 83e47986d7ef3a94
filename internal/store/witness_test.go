package store

import (
	"testing"
	"time"
)

// The co-signature beyond a quorum stays, whether it is written down after those of the quorum or, because both came at once, before them.
func TestExtendCosigned(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_800_000_000, 0).UTC()
	put := func(note string) func(*Tx) error {
		return func(tx *Tx) error { return tx.PutCosigned(Cosigned{7, at, []byte(note)}) }
	}
	extend := func(tx *Tx) error { return tx.ExtendCosigned(Cosigned{7, at, []byte("two")}, []byte("one")) }
	for name, c := range map[string]struct {
		steps []func(*Tx) error
		want  string
	}{
		"after":   {[]func(*Tx) error{put("one"), extend}, "two"},
		"before":  {[]func(*Tx) error{extend, put("one")}, "two"},
		"another": {[]func(*Tx) error{put("older"), extend, put("one")}, "older"},
	} {
		db := open(t, t.TempDir())
		for _, step := range c.steps {
			update(t, db, step)
		}
		var got Cosigned
		view(t, db, func(v *View) (err error) { got, err = v.CosignedAfter(6); return err })
		if string(got.Note) != c.want || !got.At.Equal(at) {
			t.Errorf("%s: %q at %s, want %q", name, got.Note, got.At, c.want)
		}
	}
}
