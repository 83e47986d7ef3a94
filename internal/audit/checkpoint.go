package audit

import (
	"encoding/binary"
	"errors"
	"fmt"

	"entente.example/internal/checkpoint"
	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// Keys sign the checkpoints of a log. Both bear the log's origin as their name.
type Keys struct {
	Ed25519 *statement.Key
	MLDSA   *checkpoint.Key
}

// Verifiers gives the public halves.
func (k Keys) Verifiers() checkpoint.Log {
	return checkpoint.Log{Ed25519: k.Ed25519.Public, MLDSA: k.MLDSA.Public}
}

// entries reads an entry bundle of a C2SP tlog-tiles log: each entry behind its length in two bytes, big-endian.
func entries(b []byte, width int) ([][]byte, error) {
	list := make([][]byte, 0, width)
	for len(b) > 0 {
		if len(list) == width {
			return nil, fmt.Errorf("read entries: there are more than %d", width)
		}
		if len(b) < 2 {
			return nil, errors.New("read entries: the last one is cut off")
		}
		size := int(binary.BigEndian.Uint16(b))
		if size > limit.Leaf {
			return nil, fmt.Errorf("read entries: one has %d bytes, at most %d are allowed", size, limit.Leaf)
		}
		if len(b) < 2+size {
			return nil, errors.New("read entries: the last one is cut off")
		}
		list = append(list, b[2:2+size])
		b = b[2+size:]
	}
	if len(list) != width {
		return nil, fmt.Errorf("read entries: there are %d instead of %d", len(list), width)
	}
	return list, nil
}
