package audit

import (
	"fmt"
	"os"
	"testing"
)

// BenchmarkCover measures what a round takes beside the wait for the disk, for one leaf that is new. Nobody who shows a leaf goes on before it.
func BenchmarkCover(b *testing.B) {
	for _, leaves := range []int{1_000, 100_000} {
		b.Run(fmt.Sprintf("leaves=%d", leaves), func(b *testing.B) {
			log := newBench(b).open()
			for n := leaves; n > 0; n -= 1_000 {
				log.add(1_000)
			}
			log.publish()
			log.log.sync = func(*os.File) error { return nil }
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				log.add(1)
				b.StartTimer()
				check(b, log.log.Cover(b.Context()))
			}
		})
	}
}
