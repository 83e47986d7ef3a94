package bench

import (
	"testing"
	"time"
)

// BenchmarkFill tells how long it takes to make an exchange of a home that is to be measured.
func BenchmarkFill(b *testing.B) {
	dir := b.TempDir()
	addresses, err := freeAddresses(4)
	if err == nil {
		err = found(b.Context(), dir, addresses, time.Now().Add(-past))
	}
	if err != nil {
		b.Fatal(err)
	}
	f, err := openFilling(b.Context(), dir)
	if err != nil {
		b.Fatal(err)
	}
	defer f.home.Close()
	b.ResetTimer()
	if err := f.fill(b.Context(), b.N, func(int) {}); err != nil {
		b.Fatal(err)
	}
}
