package audit

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"entente.example/internal/durable"
)

// VerifiedFile is the file of a home that remembers how far its log was verified.
const VerifiedFile = "verified"

// checks is the number of the set of checks that VerifyHome makes. Whoever adds a check adds one: then what was verified without
// it is verified again.
const checks = 1

// Verified is what a verification found sound: so many leaves with this root. It saves work and proves nothing: whoever can
// change the database can also write this file.
type Verified struct {
	Log  string // the log's origin
	Tree tlog.Tree
	Time time.Time // when, to the second
	Rows counts    // the numbers of rows then
}

const verifiedLine = "entente.example/verified/v1"

// String renders it as the file holds it. The last line is the SHA-256 of those before, against torn writes and chance.
//
//	entente.example/verified/v1
//	checks 1
//	log alpha/log/1
//	leaves 4711
//	root CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
//	time 2026-11-23T09:12:44Z
//	rows 1200 1400 2100
//	5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef
func (v Verified) String() string {
	body := fmt.Sprintf("%s\nchecks %d\nlog %s\nleaves %d\nroot %s\ntime %s\nrows %d %d %d\n", verifiedLine, checks, v.Log, v.Tree.N,
		base64.StdEncoding.EncodeToString(v.Tree.Hash[:]), v.Time.UTC().Format(time.RFC3339), v.Rows.Manifests, v.Rows.Exchanges, v.Rows.Receipts)
	return body + fmt.Sprintf("%x\n", sha256.Sum256([]byte(body)))
}

// ErrOtherChecks is what ReadVerified says of a file that another version of the program wrote.
var ErrOtherChecks = errors.New("another version of this program made it, which checks other things")

// ReadVerified reads the file at path: nil without an error if it is not there, and an error if it cannot be used.
func ReadVerified(path string) (*Verified, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what was verified: %w", err)
	}
	b, err := io.ReadAll(io.LimitReader(f, mostSlot+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read what was verified: %w", err)
	}
	v, err := parseVerified(b)
	if err != nil {
		return nil, fmt.Errorf("read what was verified: %w", err)
	}
	return v, nil
}

// parseVerified reads the file's content. It must be its own rendering, so that every changed byte is found.
func parseVerified(b []byte) (*Verified, error) {
	if len(b) > mostSlot {
		return nil, fmt.Errorf("it has more than %d bytes", mostSlot)
	}
	lines := strings.Split(string(b), "\n")
	if len(lines) != 9 || lines[0] != verifiedLine {
		return nil, errors.New("it is cut off, or something else")
	}
	if lines[1] != fmt.Sprintf("checks %d", checks) {
		return nil, ErrOtherChecks
	}
	var v Verified
	var root, when string
	_, err := fmt.Sscanf(strings.Join(lines[2:7], "\n"), "log %s\nleaves %d\nroot %s\ntime %s\nrows %d %d %d", &v.Log, &v.Tree.N, &root, &when,
		&v.Rows.Manifests, &v.Rows.Exchanges, &v.Rows.Receipts)
	if err == nil {
		v.Tree.Hash, err = tlog.ParseHash(root)
	}
	if err == nil {
		v.Time, err = time.Parse(time.RFC3339, when)
	}
	if err != nil || v.Tree.N < 0 {
		return nil, errors.New("it is damaged")
	}
	if v.String() != string(b) {
		return nil, errors.New("its checksum does not fit")
	}
	return &v, nil
}

// Remember writes what a verification found sound to the file at path. When it has returned nil, that survives a power cut.
// It refuses a report that has problems, and one for which documents were left out.
func Remember(path string, r *Report, now time.Time) error {
	if !r.OK() || r.partial {
		return errors.New("remember what was verified: it was not all sound")
	}
	return durable.Replace(path, []byte(Verified{r.Log, tlog.Tree{N: r.Leaves, Hash: r.Root}, now.UTC().Truncate(time.Second), r.rows}.String()))
}

// Forget removes the file at path, so that the next verification reads everything.
func Forget(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget what was verified: %w", err)
	}
	return nil
}
