package seal

import (
	"bytes"
	"io"
	"testing"
	"time"

	"filippo.io/age"
)

const benchSize = 32 << 20

// BenchmarkSeal compares with age alone, encrypting the same document to the same key in the same run: x-age is how many
// times as long Seal takes. It computes a SHA-256 and an HMAC-SHA-256 besides.
func BenchmarkSeal(b *testing.B) {
	doc := make([]byte, benchSize)
	ks := keys(1)
	m := draft(ks...)
	in := Inner{m.Core(), "report.pdf", "application/pdf"}
	b.SetBytes(benchSize)
	var ours, bare time.Duration
	for b.Loop() {
		ours += took(b, func() error {
			_, err := Seal(io.Discard, recipientsOf(ks), in, bytes.NewReader(doc))
			return err
		})
		b.StopTimer()
		bare += took(b, func() error {
			w, err := age.Encrypt(io.Discard, ks[0].identity.Recipient())
			if err != nil {
				return err
			}
			if _, err := io.Copy(w, bytes.NewReader(doc)); err != nil {
				return err
			}
			return w.Close()
		})
		b.StartTimer()
	}
	b.ReportMetric(float64(ours)/float64(bare), "x-age")
}

// BenchmarkVerify compares with age alone, decrypting once. Verify reads twice: for the hash, then to decrypt. It
// computes two SHA-256 and one HMAC-SHA-256 besides.
func BenchmarkVerify(b *testing.B) { benchmarkOpen(b, false) }

// BenchmarkOpen is Verify and WriteTo together, against age decrypting once.
func BenchmarkOpen(b *testing.B) { benchmarkOpen(b, true) }

func benchmarkOpen(b *testing.B, release bool) {
	s := send(b, make([]byte, benchSize), keys(1)...)
	file := append(bytes.Clone(s.header), s.payload...)
	k := keys(1)[0]
	b.SetBytes(benchSize)
	var ours, bare time.Duration
	for b.Loop() {
		ours += took(b, func() error {
			d, err := Verify(s.header, bytes.NewReader(s.payload), s.m, k)
			if err == nil && release {
				_, err = d.WriteTo(io.Discard)
			}
			return err
		})
		b.StopTimer()
		bare += took(b, func() error {
			r, err := age.Decrypt(bytes.NewReader(file), k.identity)
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, r)
			return err
		})
		b.StartTimer()
	}
	b.ReportMetric(float64(ours)/float64(bare), "x-age")
}

func took(b *testing.B, f func() error) time.Duration {
	b.Helper()
	start := time.Now()
	if err := f(); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}
