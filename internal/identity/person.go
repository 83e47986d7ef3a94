package identity

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"entente.example/internal/durable"
	"entente.example/internal/fault"
	"entente.example/internal/statement"
)

// IssuePerson issues a certificate for one of the member's people, with a fresh key, to people/NAME.pem and
// people/NAME.key in the home. It reads the authority's private key for it. What was issued to that name before stays
// valid until it expires; whoever should no longer act loses the roles instead.
func (k *Keys) IssuePerson(dir, name string, now time.Time) error {
	if err := statement.ValidPerson(name); err != nil {
		return fault.New(fault.Misused, "choose a short word, such as: alice", "%w", err)
	}
	issuer, err := k.authority(dir)
	if err != nil {
		return err
	}
	p, err := issuer.issuePerson(k.Member, name, now)
	if err != nil {
		return err
	}
	people := filepath.Join(dir, peopleDir)
	if err := durable.MkdirAll(people); err != nil {
		return fmt.Errorf("make folder for people: %w", err)
	}
	// The key goes first. A crash in between leaves a new key with an old certificate or none: LoadPerson says that
	// they do not belong together, and issuing again mends it.
	if err := durable.Replace(filepath.Join(people, name+".key"), p.keyPEM()); err != nil {
		return fmt.Errorf("write key of %s: %w", name, err)
	}
	if err := durable.Replace(filepath.Join(people, name+".pem"), p.certPEM()); err != nil {
		return fmt.Errorf("write certificate of %s: %w", name, err)
	}
	return nil
}

// authority reads the private key of our own authority.
func (k *Keys) authority(dir string) (*authority, error) {
	keyFile := filepath.Join(dir, keysDir, "ca.key")
	key, err := readPrivate(keyFile)
	if err != nil {
		return nil, err
	}
	a, err := parseAuthority(k.CA, key)
	if err != nil {
		return nil, fault.New(fault.Invalid, "put the right file back", "%s does not belong to certs/ca.pem: %w", keyFile, err)
	}
	return a, nil
}

// LoadPerson reads a person's certificate and key from the home. Of the home it needs nothing else, so a person may
// have it on another machine. The errors are faults.
func LoadPerson(dir, member, name string) (tls.Certificate, error) {
	if err := statement.ValidPerson(name); err != nil {
		return tls.Certificate{}, fault.New(fault.Misused, "entente person list shows who there is", "%w", err)
	}
	base := filepath.Join(dir, peopleDir, name)
	if _, err := os.Stat(base + ".pem"); errors.Is(err, fs.ErrNotExist) {
		return tls.Certificate{}, fault.New(fault.NotFound, "entente person add "+name+" --role releaser,reader --label LABEL --trained-until DAY", "%s has no person %s: there is no file %s.pem", member, name, base)
	}
	return loadPair(base+".pem", base+".key", personID(member, name))
}

// Persons lists the people who have a certificate in the home, sorted.
func Persons(dir string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(dir, peopleDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list people: %w", err)
	}
	var names []string
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".pem")
		if ok && e.Type().IsRegular() && statement.ValidPerson(name) == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// renewal is what to do about an expired certificate of ours.
func renewal(id string) string {
	if _, name, ok := strings.Cut(id, "/person/"); ok {
		return "issue a new one with: entente person add " + name
	}
	return "start the node: it issues itself a new one"
}
