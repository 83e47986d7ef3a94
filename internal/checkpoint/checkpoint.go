// Package checkpoint is signed tree heads: what a log says about itself, what witnesses say about it, and what can be proved with both.
//
// A checkpoint is a C2SP tlog-checkpoint: origin, size and root, and then signature lines. The log signs twice, with Ed25519 (a plain
// note signature) and with ML-DSA-44 (a C2SP tlog-cosignature, which carries a time). So does every member that witnesses it, here
// both times as a tlog-cosignature. Whoever counts a signature counts both lines or none: the log stays good when Ed25519 falls.
//
//	alpha/log/1
//	4711
//	CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
//
//	— alpha/log/1 Az3grlgt…          Ed25519
//	— alpha/log/1 opLqBQsR…          ML-DSA-44, with the time
//	— bravo/witness jWbPPwAA…        Ed25519, with the time
//	— bravo/witness I7rEps0p…        ML-DSA-44, with the same time
//
// The time that the log itself gives means: then this was the largest tree. Hence two checkpoints can contradict each other in three
// ways, see Fork.
//
// The package does no I/O, knows no network, and takes the time as a parameter. All of it may be used concurrently.
package checkpoint

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// Log is the verifier keys of a log, in the notation of signed notes. Both bear the log's origin as their name.
type Log struct {
	Ed25519 string // signature type 0x01, or 0x01 of a log that is none of ours
	MLDSA   string // signature type 0x06
}

// Origin is the log's name, such as alpha/log/1.
func (l Log) Origin() string { return keyName(l.Ed25519) }

// Witness is the verifier keys of a witness, which both bear its name, such as bravo/witness.
type Witness struct {
	Ed25519 string // signature type 0x01 or 0x04; its bare key signs cosignatures (type 0x04) in either case
	MLDSA   string // signature type 0x06; empty for an outside witness that has none
}

// Name is the witness's name.
func (w Witness) Name() string { return keyName(w.Ed25519) }

func keyName(vkey string) string {
	name, _, _ := strings.Cut(vkey, "+")
	return name
}

// Checkpoint is a checkpoint whose every signature line was verified.
type Checkpoint struct {
	Origin   string
	Tree     tlog.Tree
	Time     time.Time // when the log said that this was its largest tree; in whole seconds, UTC
	Cosigned []Cosignature
	Raw      []byte // as it was signed, with all lines
}

// Cosignature is a witness's word that the log had only grown until this tree.
type Cosignature struct {
	Witness string
	Time    time.Time // when the witness said so, in whole seconds, UTC
	PQ      bool      // it was given with ML-DSA-44 too
	Keys    Witness   // with which of the witness's keys
}

// Text is what is signed: origin, size and root, a line each. C2SP tlog-checkpoint, without extension lines.
func Text(origin string, t tlog.Tree) []byte {
	return fmt.Appendf(nil, "%s\n%d\n%s\n", origin, t.N, base64.StdEncoding.EncodeToString(t.Hash[:]))
}

// Sign makes a log's checkpoint of a tree, as of a time, and opens it again, so that whatever it returns others can open. Both keys
// must bear the log's origin. The time must not lie before that of any checkpoint that this log signed before: Fork.
func Sign(t tlog.Tree, at time.Time, ed *statement.Key, pq *Key) ([]byte, error) {
	if ed.Name() != pq.Name() {
		return nil, fmt.Errorf("sign checkpoint: the keys bear two names, %s and %s", ed.Name(), pq.Name())
	}
	text := Text(ed.Name(), t)
	sig, err := ed.Sign(text)
	if err != nil {
		return nil, fmt.Errorf("sign checkpoint: %w", err)
	}
	timed, err := signMLDSA(pq, ed.Name(), t, at)
	if err != nil {
		return nil, fmt.Errorf("sign checkpoint: %w", err)
	}
	raw := append(bytes.Clone(text), '\n')
	raw = append(raw, line{ed.Name(), ed.KeyHash(), sig}.String()...)
	raw = append(raw, timed.String()...)
	again, err := Open(raw, Log{ed.Public, pq.Public})
	if err != nil {
		return nil, fmt.Errorf("sign checkpoint: %w", err)
	}
	if again.Tree != t {
		return nil, errors.New("sign checkpoint: it reads differently from what was signed")
	}
	return raw, nil
}

// Open verifies a checkpoint strictly. The text has one spelling; the lines are the log's two and then, sorted by name, those of witnesses,
// Ed25519 before ML-DSA-44. Each must be good under a key of these, both lines of a witness must name one time, no witness may
// occur twice, and nothing else may be there.
func Open(raw []byte, log Log, witnesses ...Witness) (*Checkpoint, error) {
	c, err := open(raw, log, witnesses)
	if err != nil {
		return nil, fmt.Errorf("open checkpoint: %w", err)
	}
	return c, nil
}

func open(raw []byte, log Log, witnesses []Witness) (*Checkpoint, error) {
	text, lines, err := split(raw)
	if err != nil {
		return nil, err
	}
	c := &Checkpoint{Origin: log.Origin(), Raw: raw}
	if c.Tree, err = parseText(text, c.Origin); err != nil {
		return nil, err
	}
	if len(lines) < 2 {
		return nil, errors.New("it lacks the log's two signatures")
	}
	if err := verifyPlain(log.Ed25519, text, lines[0]); err != nil {
		return nil, err
	}
	if c.Time, err = verifyMLDSA(log.MLDSA, c.Origin, c.Tree, lines[1]); err != nil {
		return nil, err
	}
	for rest := lines[2:]; len(rest) > 0; {
		name := rest[0].name
		at := choose(witnesses, rest[0])
		if at < 0 {
			return nil, fmt.Errorf("it carries a signature in the name of %.80q, which is no witness of it", name)
		}
		if n := len(c.Cosigned); n > 0 && c.Cosigned[n-1].Witness >= name {
			return nil, fmt.Errorf("its witnesses are not sorted without repetition: %.80q after %.80q", name, c.Cosigned[n-1].Witness)
		}
		co, used, err := witnesses[at].verify(text, c.Origin, c.Tree, rest)
		if err != nil {
			return nil, err
		}
		c.Cosigned = append(c.Cosigned, co)
		rest = rest[used:]
	}
	return c, nil
}

// choose finds the witness whose key a line names. Someone may have had several pairs of keys under one name.
func choose(witnesses []Witness, l line) int {
	named := func(w Witness) bool { return w.Name() == l.name }
	at := slices.IndexFunc(witnesses, func(w Witness) bool { return named(w) && slices.Index(w.hashes(), l.hash) == 0 })
	if at < 0 {
		at = slices.IndexFunc(witnesses, named)
	}
	return at
}

// verify checks the one or two lines of a witness at the beginning of lines, and tells how many they are.
func (w Witness) verify(text []byte, origin string, t tlog.Tree, lines []line) (co Cosignature, used int, err error) {
	co = Cosignature{Witness: w.Name(), Keys: w}
	if co.Time, err = verifyCosignature(w.Ed25519, text, lines[0]); err != nil {
		return co, 0, err
	}
	if w.MLDSA == "" {
		return co, 1, nil
	}
	if len(lines) < 2 {
		return co, 0, fmt.Errorf("the ML-DSA-44 signature of %s is missing", w.Name())
	}
	again, err := verifyMLDSA(w.MLDSA, origin, t, lines[1])
	if err != nil {
		return co, 0, err
	}
	if !again.Equal(co.Time) {
		return co, 0, fmt.Errorf("the two signatures of %s name two times", w.Name())
	}
	co.PQ = true
	return co, 2, nil
}

// parseText reads origin, size and root in their one spelling.
func parseText(text []byte, origin string) (t tlog.Tree, err error) {
	lines := strings.Split(string(text), "\n")
	if len(lines) != 4 || lines[0] != origin {
		return t, fmt.Errorf("it must be the three lines origin, size, root, with the origin %q", origin)
	}
	if t.N, err = strconv.ParseInt(lines[1], 10, 64); err != nil || t.N < 0 {
		return t, fmt.Errorf("%.40q is not a size", lines[1])
	}
	if t.Hash, err = tlog.ParseHash(lines[2]); err != nil {
		return t, errors.New("the root is not 32 bytes in base64")
	}
	if !bytes.Equal(text, Text(origin, t)) {
		return t, errors.New("it is not in the one spelling")
	}
	return t, nil
}

// split takes a checkpoint apart into text and signature lines, each in its one spelling.
func split(raw []byte) (text []byte, lines []line, err error) {
	if len(raw) > limit.Checkpoint {
		return nil, nil, fmt.Errorf("it has %d bytes, at most %d are allowed", len(raw), limit.Checkpoint)
	}
	end := bytes.Index(raw, []byte("\n\n"))
	if end < 0 || raw[len(raw)-1] != '\n' {
		return nil, nil, errors.New("it is cut off")
	}
	lines, err = parseLines(raw[end+2:])
	return raw[:end+1], lines, err
}

// Head reads origin and tree of a checkpoint without verifying anything, for choosing the keys to open it with.
func Head(raw []byte) (origin string, t tlog.Tree, err error) {
	text, _, err := split(raw)
	if err != nil {
		return "", t, fmt.Errorf("read checkpoint: %w", err)
	}
	origin, _, _ = strings.Cut(string(text), "\n")
	if t, err = parseText(text, origin); err != nil {
		return "", t, fmt.Errorf("read checkpoint: %w", err)
	}
	return origin, t, nil
}

// Bare gives a checkpoint with its log's two lines and nobody else's. raw must come from Open or Sign.
func Bare(raw []byte) ([]byte, error) {
	text, lines, err := split(raw)
	if err != nil || len(lines) < 2 {
		return nil, fmt.Errorf("strip checkpoint: %w", errors.Join(err, errors.New("it lacks the log's two signatures")))
	}
	return render(text, lines[:2]), nil
}

// Join adds the lines of witnesses, each as Cosign or Answer gave them, to a bare checkpoint. The caller opens the result.
func Join(bare []byte, cosignatures ...[]byte) ([]byte, error) {
	text, lines, err := split(bare)
	if err != nil {
		return nil, fmt.Errorf("join cosignatures: %w", err)
	}
	var more []line
	for _, c := range cosignatures {
		l, err := parseLines(c)
		if err != nil {
			return nil, fmt.Errorf("join cosignatures: %w", err)
		}
		more = append(more, l...)
	}
	slices.SortStableFunc(more, func(a, b line) int { return strings.Compare(a.name, b.name) })
	return render(text, append(lines, more...)), nil
}

func render(text []byte, lines []line) []byte {
	raw := append(bytes.Clone(text), '\n')
	for _, l := range lines {
		raw = append(raw, l.String()...)
	}
	return raw
}
