package seal

import (
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// zeros is an endless reader.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// heap passes writes on and remembers how large the heap ever was.
type heap struct {
	w     io.Writer
	most  uint64
	every int
}

func (h *heap) Write(p []byte) (int, error) {
	if h.every++; h.every%8 == 0 {
		h.most = max(h.most, heapNow())
	}
	return h.w.Write(p)
}

func heapNow() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A document of 256 MiB passes through both directions in constant memory. Not parallel, because it looks at the heap.
func TestConstantMemory(t *testing.T) {
	const size, room = 256 << 20, 16 << 20
	ks := keys(1)
	m := draft(ks...)
	file, err := os.Create(filepath.Join(t.TempDir(), "payload"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	runtime.GC()
	before := heapNow()
	grown := func(h *heap) int64 { return int64(max(h.most, heapNow())) - int64(before) }

	out := &heap{w: file}
	sealed, err := Seal(out, recipientsOf(ks), Inner{m.Core(), "zeros", "application/octet-stream"}, io.LimitReader(zeros{}, size))
	if err != nil {
		t.Fatal(err)
	}
	if g := grown(out); g >= room {
		t.Errorf("sealing grew the heap by %d bytes", g)
	}
	if out.every < size/(256<<10) {
		t.Errorf("only %d writes", out.every)
	}

	m.Content = sealed.Content
	// Verify releases nothing that could be counted, so look while it reads.
	reads := &heapReader{ReaderAt: file}
	d, err := Verify(sealed.Header, reads, &m, ks...)
	if err != nil {
		t.Fatal(err)
	}
	released := &heap{w: io.Discard}
	if n, err := d.WriteTo(released); n != size || err != nil {
		t.Fatalf("released %d bytes, %v", n, err)
	}
	if g := max(int64(reads.most)-int64(before), grown(released)); g >= room {
		t.Errorf("opening grew the heap by %d bytes", g)
	}
	t.Logf("heap grew by %d KiB sealing and %d KiB opening", grown(out)>>10, max(int64(reads.most)-int64(before), grown(released))>>10)
}

type heapReader struct {
	io.ReaderAt
	most  uint64
	every int
}

func (r *heapReader) ReadAt(p []byte, off int64) (int, error) {
	if r.every++; r.every%32 == 0 {
		r.most = max(r.most, heapNow())
	}
	return r.ReaderAt.ReadAt(p, off)
}
