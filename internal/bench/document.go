package bench

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
)

// warmSize bounds the documents that are exchanged before anything is measured.
const warmSize = 16 << 20

// bufferSize is how much the reference reads and writes at once.
const bufferSize = 1 << 20

// writeDocument writes a document of that size whose bytes no layer below can make fewer. It is synced, so that writing it does not
// go on behind what is measured.
func writeDocument(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	random := rand.NewChaCha8([32]byte{})
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, io.LimitReader(random, size), make([]byte, bufferSize))
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
