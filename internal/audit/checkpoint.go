package audit

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// checkpointText is the text of a C2SP tlog-checkpoint without extension lines: origin, size, root.
func checkpointText(origin string, t tlog.Tree) string {
	return fmt.Sprintf("%s\n%d\n%s\n", origin, t.N, base64.StdEncoding.EncodeToString(t.Hash[:]))
}

// signCheckpoint signs a tree head under the key's own name, and opens what it signed.
func signCheckpoint(key *statement.Key, t tlog.Tree) ([]byte, error) {
	raw, err := note.Sign(&note.Note{Text: checkpointText(key.Name(), t)}, key)
	if err != nil {
		return nil, fmt.Errorf("sign checkpoint: %w", err)
	}
	again, err := OpenCheckpoint(raw, key.Public)
	if err != nil {
		return nil, fmt.Errorf("sign checkpoint: %w", err)
	}
	if again != t {
		return nil, errors.New("sign checkpoint: it reads differently from what was signed")
	}
	return raw, nil
}

// OpenCheckpoint verifies a checkpoint under the log's verifier key, whose name is the log's origin, and gives its tree head.
// It accepts exactly one spelling: origin, size, root, and one signature line. Format: c2sp.org/tlog-checkpoint.
func OpenCheckpoint(raw []byte, vkey string) (tlog.Tree, error) {
	t, err := openCheckpoint(raw, vkey)
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("open checkpoint: %w", err)
	}
	return t, nil
}

func openCheckpoint(raw []byte, vkey string) (t tlog.Tree, err error) {
	if len(raw) > limit.Statement {
		return t, fmt.Errorf("it has %d bytes, at most %d are allowed", len(raw), limit.Statement)
	}
	verifier, err := openKey(vkey)
	if err != nil {
		return t, err
	}
	n, err := note.Open(raw, note.VerifierList(verifier))
	if err != nil {
		return t, fmt.Errorf("verify the signature of %s: %w", verifier.Name(), err)
	}
	lines := strings.Split(n.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		return t, fmt.Errorf("it must be the three lines origin, size, root, with the origin %q", verifier.Name())
	}
	if t.N, err = strconv.ParseInt(lines[1], 10, 64); err != nil || t.N < 0 {
		return t, fmt.Errorf("%.40q is not a size", lines[1])
	}
	if t.Hash, err = tlog.ParseHash(lines[2]); err != nil {
		return t, errors.New("the root is not 32 bytes in base64")
	}
	if n.Text != checkpointText(verifier.Name(), t) || len(n.UnverifiedSigs) > 0 {
		return t, errors.New("it is not in the one spelling, or carries lines of others")
	}
	if !bytes.Equal(raw, noteBytes(n)) {
		return t, errors.New("its signature line is not in the one spelling")
	}
	return t, nil
}

// noteBytes renders a note with its verified lines. The library accepts repeated lines and stray bits in the last base64 digit.
func noteBytes(n *note.Note) []byte {
	b := []byte(n.Text + "\n")
	for _, s := range n.Sigs {
		sig, _ := base64.StdEncoding.DecodeString(s.Base64) // the library decoded it before
		b = append(b, "— "+s.Name+" "+base64.StdEncoding.EncodeToString(sig)+"\n"...)
	}
	return b
}

// openKey reads an Ed25519 verifier key in its one spelling, NAME+HASH+BASE64.
func openKey(vkey string) (note.Verifier, error) {
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, fmt.Errorf("read key %.120q: %w", vkey, err)
	}
	key, err := statement.KeyBytes(vkey)
	if err != nil {
		return nil, fmt.Errorf("read key %.120q: %w", vkey, err)
	}
	if again, err := note.NewEd25519VerifierKey(v.Name(), key); err != nil || again != vkey {
		return nil, fmt.Errorf("read key %.120q: not the one spelling of its key", vkey)
	}
	return v, nil
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
