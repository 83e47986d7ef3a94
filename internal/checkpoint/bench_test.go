package checkpoint

import (
	"crypto/sha256"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"entente.example/internal/memo"
)

// BenchmarkRound measures the signatures of one round: the log signs, opens what it signed as its own node does, reads the answers of two witnesses,
// joins them, and opens the whole. Then a witness opens and co-signs it.
func BenchmarkRound(b *testing.B) {
	log, bravo, charlie := newSigner(b, "alpha/log/1"), newSigner(b, "bravo/witness"), newSigner(b, "charlie/witness")
	tree := tlog.Tree{Hash: tlog.RecordHash(nil)}
	next := func() []byte { tree.N++; return log.sign(b, tree, then) }
	open := func(raw []byte) {
		if _, err := Open(raw, log.log(), bravo.witness(), charlie.witness()); err != nil {
			b.Fatal(err)
		}
	}
	answer := func(raw, lines []byte, w signer) []byte {
		_, own, err := Answer(raw, lines, w.witness())
		if err != nil {
			b.Fatal(err)
		}
		return own
	}
	b.Run("log", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			tree.N++
			one, two := bravo.cosign(b, log.sign(b, tree, then), then), charlie.cosign(b, log.sign(b, tree, then), then)
			forget()
			b.StartTimer()
			raw := log.sign(b, tree, then)
			open(raw)
			first, second := answer(raw, one, bravo), answer(raw, two, charlie)
			open(must[[]byte](b)(Join(raw, first, second)))
			open(raw) // before the next one is dated
		}
	})
	b.Run("witness", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			raw := next()
			forget()
			b.StartTimer()
			open(raw)
			bravo.cosign(b, raw, then)
		}
	})
	b.Run("sign", func(b *testing.B) {
		for b.Loop() {
			next()
		}
	})
}

// forget makes the next verifications begin from nothing, as in a new round.
func forget() { good = memo.Memo[[sha256.Size]byte, struct{}]{} }
