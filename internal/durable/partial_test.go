package durable

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"entente.example/internal/limit"
)

// partly is a Partial with its files, as one run of a program has it.
type partly struct {
	*Partial
	data, notes *os.File
}

func resume(t *testing.T, dir string, sync func(*os.File) error) *partly {
	t.Helper()
	p := &partly{}
	var err error
	for name, f := range map[string]**os.File{"data": &p.data, "notes": &p.notes} {
		if *f, err = os.OpenFile(filepath.Join(dir, name), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { p.data.Close(); p.notes.Close() })
	if p.Partial, err = Resume(t.Context(), p.data, p.notes, sync); err != nil {
		t.Fatal(err)
	}
	return p
}

// kill ends the use as kill -9 would: the kernel keeps what was written, and nothing more is noted.
func (p *partly) kill() {
	_ = p.Wait() // the disk finishes what it was told
	p.data.Close()
	p.notes.Close()
}

func (p *partly) write(t *testing.T, b []byte) {
	t.Helper()
	for len(b) > 0 {
		n, err := p.Write(b[:min(len(b), limit.Chunk+rand.IntN(100))])
		if err != nil {
			t.Fatal(err)
		}
		b = b[n:]
	}
}

func random(size int) []byte {
	b := make([]byte, size)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}

// TestPartialGoesOn ends the writing in each way, at each kind of place, and looks where it goes on.
func TestPartialGoesOn(t *testing.T) {
	t.Parallel()
	whole := random(2*limit.PartialSync + 3*limit.PartialNote + 12345)
	for _, size := range []int{0, 1, 16 << 10, limit.PartialNote - 1, limit.PartialNote, limit.PartialNote + 1, 3*limit.PartialNote + 100,
		limit.PartialSync - 1, limit.PartialSync, limit.PartialSync + 5, len(whole)} {
		dir := t.TempDir()
		p := resume(t, dir, (*os.File).Sync)
		p.write(t, whole[:size])
		if err := p.Pause(); err != nil {
			t.Fatal(err)
		}
		p.kill()
		if p = resume(t, dir, (*os.File).Sync); p.Size() != int64(size) || p.Sum() != sha256.Sum256(whole[:size]) {
			t.Fatalf("paused at %d, and goes on at %d", size, p.Size())
		}
		whole := whole[:min(len(whole), size+2*limit.PartialNote)]
		more := min(len(whole), size+limit.PartialNote/2)
		p.write(t, whole[size:more])
		p.kill()
		p = resume(t, dir, (*os.File).Sync)
		if lost := int64(more) - p.Size(); lost < 0 || lost >= limit.PartialNote {
			t.Errorf("killed at %d, and goes on at %d", more, p.Size())
		}
		p.write(t, whole[p.Size():])
		if p.Sum() != sha256.Sum256(whole) {
			t.Errorf("paused at %d: another sum in the end", size)
		}
		p.kill()
		if got, err := os.ReadFile(filepath.Join(dir, "data")); err != nil || !bytes.Equal(got, whole) {
			t.Errorf("paused at %d: other bytes in the end, %v", size, err)
		}
	}
}

// TestPartialPowerCut damages what was not synced, as a power cut may, and what was not noted.
func TestPartialPowerCut(t *testing.T) {
	t.Parallel()
	const synced = 2 * limit.PartialSync
	whole := random(synced + 5*limit.PartialNote + 777)
	dir := t.TempDir()
	p := resume(t, dir, (*os.File).Sync)
	p.write(t, whole)
	if err := p.Pause(); err != nil {
		t.Fatal(err)
	}
	p.kill()
	good := map[string][]byte{}
	for _, name := range []string{"data", "notes"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		good[name] = b
	}
	zero := func(b []byte, from int) []byte { b = bytes.Clone(b); clear(b[from:]); return b }
	flip := func(b []byte, at int) []byte { b = bytes.Clone(b); b[at] ^= 1; return b }
	noteAt := func(place int) int { return place * noteSize }
	for name, c := range map[string]struct {
		data, notes []byte
		want        int
	}{
		"nothing is lost":                     {good["data"], good["notes"], len(whole)},
		"the last byte is garbage":            {flip(good["data"], len(whole)-1), good["notes"], synced + 5*limit.PartialNote},
		"the first byte behind the sync is":   {flip(good["data"], synced), good["notes"], synced},
		"the second piece is":                 {zero(good["data"], synced+limit.PartialNote), good["notes"], synced + limit.PartialNote},
		"the file is shorter":                 {good["data"][:synced+limit.PartialNote+5], good["notes"], synced + limit.PartialNote},
		"the file is longer":                  {append(bytes.Clone(good["data"]), "more"...), good["notes"], len(whole)},
		"a note is garbage":                   {good["data"], flip(good["notes"], noteAt(67)+20), synced + 2*limit.PartialNote},
		"a note is cut":                       {good["data"], good["notes"][:noteAt(68)+5], synced + 3*limit.PartialNote},
		"the first note is garbage":           {good["data"], flip(good["notes"], 3), len(whole)},
		"the first note is, and the file too": {flip(good["data"], 10), flip(good["notes"], 3), 0},
		"the notes are gone":                  {good["data"], nil, 0},
		"the file is gone":                    {nil, good["notes"], 0},
		"the notes are zero":                  {good["data"], zero(good["notes"], 0), 0},
		"the file lost what was synced":       {good["data"][:synced-limit.PartialNote-1], good["notes"], synced - 2*limit.PartialNote},
	} {
		dir := t.TempDir()
		for file, b := range map[string][]byte{"data": c.data, "notes": c.notes} {
			if err := os.WriteFile(filepath.Join(dir, file), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		p := resume(t, dir, (*os.File).Sync)
		if p.Size() != int64(c.want) || p.Sum() != sha256.Sum256(whole[:c.want]) {
			t.Errorf("%s: goes on at %d and not at %d", name, p.Size(), c.want)
			continue
		}
		p.kill()
		if again := resume(t, dir, (*os.File).Sync); again.Size() != int64(c.want) {
			t.Errorf("%s: looking twice gives %d", name, again.Size())
		}
		if info, err := os.Stat(filepath.Join(dir, "data")); err != nil || info.Size() != int64(c.want) {
			t.Errorf("%s: the file keeps what nothing vouches for: %v, %v", name, info.Size(), err)
		}
	}
}

// TestPartialReads shows that going on costs the same however large the file is: it hashes what was not synced.
func TestPartialReads(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	// 48 GiB that were synced, as the notes say: the file is sparse and its bytes are zero, so no hash of them would fit.
	const synced = 48 << 30
	p := resume(t, dir, (*os.File).Sync)
	p.write(t, random(limit.PartialNote))
	p.size = synced
	note, err := p.makeNote()
	if err != nil {
		t.Fatal(err)
	}
	if _, err = p.notes.WriteAt(note, 0); err != nil {
		t.Fatal(err)
	}
	if err := p.data.Truncate(synced); err != nil {
		t.Fatal(err)
	}
	p.write(t, random(3*limit.PartialNote))
	sum := p.Sum()
	p.kill()
	if p = resume(t, dir, (*os.File).Sync); p.Size() != synced+3*limit.PartialNote || p.Sum() != sum {
		t.Errorf("goes on at %d", p.Size())
	}
}

// TestPartialSync shows that a sync is asked for behind each piece, that no more than two pieces are ever at stake, and that nobody
// goes on once one has failed.
func TestPartialSync(t *testing.T) {
	t.Parallel()
	var syncs atomic.Int64
	slow := make(chan struct{})
	p := resume(t, t.TempDir(), func(f *os.File) error {
		if filepath.Base(f.Name()) == "data" {
			syncs.Add(1)
			<-slow
		}
		return f.Sync()
	})
	p.write(t, random(2*limit.PartialSync-1))
	done := make(chan error, 1)
	go func() { _, err := p.Write([]byte{0}); done <- err }()
	select {
	case <-done:
		t.Error("more was written than may be at stake")
	case <-time.After(50 * time.Millisecond):
	}
	close(slow)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err != nil || syncs.Load() != 2 {
		t.Errorf("%d syncs, %v", syncs.Load(), err)
	}

	p = resume(t, t.TempDir(), func(*os.File) error { return io.ErrShortWrite })
	p.write(t, random(limit.PartialSync))
	for _, end := range []func() error{p.Wait, p.Pause, p.Reset} {
		if err := end(); !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("a sync failed, and there is %v", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p = resume(t, t.TempDir(), (*os.File).Sync)
	p.write(t, random(limit.PartialNote))
	if _, err := Resume(ctx, p.data, p.notes, (*os.File).Sync); !errors.Is(err, context.Canceled) {
		t.Errorf("%v of a caller that has gone", err)
	}
}
