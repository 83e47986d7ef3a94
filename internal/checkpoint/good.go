package checkpoint

import (
	"crypto/sha256"
	"encoding/binary"

	"entente.example/internal/memo"
)

// good are signatures that were found good, by the hash of all that this depends on. A log's node meets each of its checkpoints several times
// in one round: it opens what it signed, reads answers of witnesses, joins them and opens the whole, and opens the newest before it dates
// the next. Others meet them again when they hear of the same checkpoint from somebody else.
var good memo.Memo[[sha256.Size]byte, struct{}]

// verified is verify, which checks a signature of that type under a key, unless exactly this one was found good before. What is not good is
// never remembered.
func verified(kind byte, key, message, sig []byte, verify func() error) error {
	h := sha256.New()
	h.Write([]byte{kind})
	for _, part := range [][]byte{key, message, sig} { // each behind its length, so that no two cases are written alike
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write(part)
	}
	_, err := good.Get([sha256.Size]byte(h.Sum(nil)), func() (struct{}, error) { return struct{}{}, verify() })
	return err
}
