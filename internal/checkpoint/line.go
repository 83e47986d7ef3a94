package checkpoint

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// line is a note's signature line: — NAME base64(KEYHASH ‖ SIGNATURE). C2SP signed-note.
type line struct {
	name string
	hash uint32
	sig  []byte
}

const dash = "— "

// String gives the line with its line feed.
func (l line) String() string {
	b := binary.BigEndian.AppendUint32(nil, l.hash)
	return dash + l.name + " " + base64.StdEncoding.EncodeToString(append(b, l.sig...)) + "\n"
}

// parseLines reads signature lines, each in its one spelling. There is at least one.
func parseLines(b []byte) ([]line, error) {
	if len(b) == 0 || len(b) > limit.Checkpoint || b[len(b)-1] != '\n' {
		return nil, errors.New("its signature lines are cut off, or too long")
	}
	parts := strings.SplitAfter(string(b), "\n")
	parts = parts[:len(parts)-1]
	if len(parts) > limit.CheckpointLines {
		return nil, fmt.Errorf("it has %d signature lines, at most %d are allowed", len(parts), limit.CheckpointLines)
	}
	lines := make([]line, len(parts))
	for i, text := range parts {
		name, sig, ok := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(text, dash), "\n"), " ")
		raw, err := base64.StdEncoding.Strict().DecodeString(sig)
		if !ok || err != nil || name == "" || len(raw) < 5 {
			return nil, fmt.Errorf("signature line %d is not of the form %q", i+1, dash+"NAME BASE64")
		}
		lines[i] = line{name, binary.BigEndian.Uint32(raw), raw[4:]}
		if lines[i].String() != text {
			return nil, fmt.Errorf("signature line %d is not in its one spelling", i+1)
		}
	}
	return lines, nil
}

// Signature types of C2SP signed-note and tlog-cosignature.
const (
	typeEd25519     = 0x01
	typeCosignature = 0x04
	typeMLDSA       = 0x06
)

// keyHash is the first four bytes of SHA-256(name ‖ LF ‖ type ‖ key).
func keyHash(name string, kind byte, key []byte) uint32 {
	h := sha256.New()
	h.Write([]byte(name + "\n"))
	h.Write([]byte{kind})
	h.Write(key)
	return binary.BigEndian.Uint32(h.Sum(nil))
}

// edKey gives the bare Ed25519 key of a vkey of type 0x01 or 0x04, which must be in its one spelling.
func edKey(vkey string) (ed25519.PublicKey, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 || parts[0] == "" {
		return nil, fmt.Errorf("read key %.120q: not of the form NAME+HASH+BASE64", vkey)
	}
	b, err := base64.StdEncoding.Strict().DecodeString(parts[2])
	if err != nil || len(b) != 1+ed25519.PublicKeySize || b[0] != typeEd25519 && b[0] != typeCosignature {
		return nil, fmt.Errorf("read key %.120q: not an Ed25519 key", vkey)
	}
	if want := fmt.Sprintf("%s+%08x+%s", parts[0], keyHash(parts[0], b[0], b[1:]), base64.StdEncoding.EncodeToString(b)); want != vkey {
		return nil, fmt.Errorf("read key %.120q: not the one spelling of its key", vkey)
	}
	return b[1:], nil
}

// verifyPlain checks a plain note signature, type 0x01, over a text.
func verifyPlain(vkey string, text []byte, l line) error {
	key, err := edKey(vkey)
	if err != nil {
		return err
	}
	name := keyName(vkey)
	if l.name != name || l.hash != keyHash(name, typeEd25519, key) || len(l.sig) != ed25519.SignatureSize || !verifyEd25519(key, text, l.sig) {
		return fmt.Errorf("the Ed25519 signature of %s is not good", name)
	}
	return nil
}

func verifyEd25519(key ed25519.PublicKey, message, sig []byte) bool {
	return verified(typeEd25519, key, message, sig, func() error {
		if !ed25519.Verify(key, message, sig) {
			return errors.New("it is not good")
		}
		return nil
	}) == nil
}

// cosignatureMessage is what an Ed25519 cosignature covers. C2SP tlog-cosignature, "Ed25519 signed message".
func cosignatureMessage(text []byte, at int64) []byte {
	return append(fmt.Appendf(nil, "cosignature/v1\ntime %d\n", at), text...)
}

// verifyCosignature checks an Ed25519 cosignature, type 0x04, and gives its time.
func verifyCosignature(vkey string, text []byte, l line) (time.Time, error) {
	key, err := edKey(vkey)
	if err != nil {
		return time.Time{}, err
	}
	name := keyName(vkey)
	bad := fmt.Errorf("the Ed25519 co-signature of %s is not good", name)
	if l.name != name || l.hash != keyHash(name, typeCosignature, key) || len(l.sig) != 8+ed25519.SignatureSize {
		return time.Time{}, bad
	}
	at, err := timestamp(l.sig)
	if err != nil || !verifyEd25519(key, cosignatureMessage(text, at.Unix()), l.sig[8:]) {
		return time.Time{}, bad
	}
	return at, nil
}

// latest bounds a timestamp: the last second of the year 9999, as in statements.
const latest = 253402300799

// timestamp reads the time in front of a timed signature. Zero would mean that the cosigner says nothing about the time.
func timestamp(sig []byte) (time.Time, error) {
	at := binary.BigEndian.Uint64(sig)
	if at == 0 || at > latest {
		return time.Time{}, fmt.Errorf("the time %d is out of bounds", at)
	}
	return time.Unix(int64(at), 0).UTC(), nil
}

// mldsaMessage is what an ML-DSA-44 cosignature covers: the structure cosigned_message of C2SP tlog-cosignature, for a whole tree.
func mldsaMessage(cosigner, origin string, t tlog.Tree, at int64) ([]byte, error) {
	if len(cosigner) < 1 || len(cosigner) > math.MaxUint8 || len(origin) < 1 || len(origin) > math.MaxUint8 || t.N < 0 {
		return nil, errors.New("a name has no byte, or more than 255")
	}
	b := []byte("subtree/v1\n\x00")
	b = append(append(b, byte(len(cosigner))), cosigner...)
	b = binary.BigEndian.AppendUint64(b, uint64(at))
	b = append(append(b, byte(len(origin))), origin...)
	b = binary.BigEndian.AppendUint64(b, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(t.N))
	return append(b, t.Hash[:]...), nil
}

// mldsaSignatureSize is an ML-DSA-44 signature. FIPS 204, table 2.
const mldsaSignatureSize = 2420

func verifyMLDSA(vkey, origin string, t tlog.Tree, l line) (time.Time, error) {
	key, err := statement.MLDSAKeyBytes(vkey)
	if err != nil {
		return time.Time{}, err
	}
	name := keyName(vkey)
	bad := fmt.Errorf("the ML-DSA-44 signature of %s is not good", name)
	if l.name != name || l.hash != keyHash(name, typeMLDSA, key) || len(l.sig) != 8+mldsaSignatureSize {
		return time.Time{}, bad
	}
	at, err := timestamp(l.sig)
	if err != nil {
		return time.Time{}, bad
	}
	message, err := mldsaMessage(name, origin, t, at.Unix())
	if err != nil || VerifyMLDSA(vkey, message, l.sig[8:]) != nil {
		return time.Time{}, bad
	}
	return at, nil
}

func signMLDSA(key *Key, origin string, t tlog.Tree, at time.Time) (line, error) {
	message, err := mldsaMessage(key.Name(), origin, t, at.Unix())
	if err != nil {
		return line{}, err
	}
	sig, err := key.Sign(message)
	if err != nil {
		return line{}, err
	}
	public, err := statement.MLDSAKeyBytes(key.Public)
	if err != nil {
		return line{}, err
	}
	return line{key.Name(), keyHash(key.Name(), typeMLDSA, public), append(binary.BigEndian.AppendUint64(nil, uint64(at.Unix())), sig...)}, nil
}

// Cosign gives the two signature lines of a witness for a checkpoint's text, which may have extension lines: an Ed25519 cosignature
// and an ML-DSA-44 one with the same time. Both keys must bear the witness's name. The caller has verified the checkpoint, and that the log
// only grew, and has made the new head durable. C2SP tlog-cosignature.
func Cosign(text []byte, origin string, t tlog.Tree, at time.Time, ed *statement.Key, pq *Key) ([]byte, error) {
	if ed.Name() != pq.Name() {
		return nil, fmt.Errorf("co-sign checkpoint: the keys bear two names, %s and %s", ed.Name(), pq.Name())
	}
	sig, err := ed.Sign(cosignatureMessage(text, at.Unix()))
	if err != nil {
		return nil, fmt.Errorf("co-sign checkpoint: %w", err)
	}
	public, err := statement.KeyBytes(ed.Public)
	if err != nil {
		return nil, fmt.Errorf("co-sign checkpoint: %w", err)
	}
	timed := append(binary.BigEndian.AppendUint64(nil, uint64(at.Unix())), sig...)
	first := line{ed.Name(), keyHash(ed.Name(), typeCosignature, public), timed}
	second, err := signMLDSA(pq, origin, t, at)
	if err != nil {
		return nil, fmt.Errorf("co-sign checkpoint: %w", err)
	}
	return []byte(first.String() + second.String()), nil
}

// Answer finds and verifies the lines of one witness in what it answered to a bare checkpoint, which must come from Sign or Open. Lines
// of other names are ignored, as C2SP tlog-witness asks. It gives exactly the witness's lines, for Join.
func Answer(bare, answer []byte, w Witness) (Cosignature, []byte, error) {
	text, _, err := split(bare)
	if err != nil {
		return Cosignature{}, nil, fmt.Errorf("read co-signature of %s: %w", w.Name(), err)
	}
	origin, t, err := Head(bare)
	if err != nil {
		return Cosignature{}, nil, fmt.Errorf("read co-signature of %s: %w", w.Name(), err)
	}
	all, err := parseLines(answer)
	if err != nil {
		return Cosignature{}, nil, fmt.Errorf("read co-signature of %s: %w", w.Name(), err)
	}
	var own []line
	for _, want := range w.hashes() {
		for _, l := range all {
			if l.name == w.Name() && l.hash == want {
				own = append(own, l)
				break
			}
		}
	}
	if len(own) == 0 {
		return Cosignature{}, nil, fmt.Errorf("read co-signature of %s: there is none", w.Name())
	}
	co, used, err := w.verify(text, origin, t, own)
	if err != nil {
		return Cosignature{}, nil, fmt.Errorf("read co-signature of %s: %w", w.Name(), err)
	}
	var b []byte
	for _, l := range own[:used] {
		b = append(b, l.String()...)
	}
	return co, b, nil
}

// hashes are the key hashes of a witness's lines, in their order.
func (w Witness) hashes() (list []uint32) {
	if key, err := edKey(w.Ed25519); err == nil {
		list = append(list, keyHash(w.Name(), typeCosignature, key))
	}
	if key, err := statement.MLDSAKeyBytes(w.MLDSA); w.MLDSA != "" && err == nil {
		list = append(list, keyHash(w.Name(), typeMLDSA, key))
	}
	return list
}

// Foreign is a checkpoint of a log that is none of a member's: any origin, extension lines, other keys' lines.
type Foreign struct {
	Origin string
	Tree   tlog.Tree
	Text   []byte // all that was signed
}

// OpenForeign verifies the checkpoint of a third party's log under its Ed25519 key, whose name need not be the origin, and ignores lines of
// unknown keys, as C2SP tlog-witness asks of a witness.
func OpenForeign(raw []byte, vkey string) (*Foreign, error) {
	if len(raw) > limit.Checkpoint {
		return nil, fmt.Errorf("open checkpoint: it has %d bytes, at most %d are allowed", len(raw), limit.Checkpoint)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, fmt.Errorf("open checkpoint: read key %.120q: %w", vkey, err)
	}
	n, err := note.Open(raw, note.VerifierList(v))
	if err != nil {
		return nil, fmt.Errorf("open checkpoint: %w", err)
	}
	lines := strings.SplitAfterN(n.Text, "\n", 4)
	if len(lines) < 4 || len(lines[0]) < 2 {
		return nil, errors.New("open checkpoint: it must begin with the three lines origin, size, root")
	}
	f := &Foreign{Origin: strings.TrimSuffix(lines[0], "\n"), Text: []byte(n.Text)}
	if f.Tree, err = parseText([]byte(lines[0]+lines[1]+lines[2]), f.Origin); err != nil {
		return nil, fmt.Errorf("open checkpoint: %w", err)
	}
	return f, nil
}
