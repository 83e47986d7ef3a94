package node

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/pelletier/go-toml/v2"

	"entente.example/internal/durable"
	"entente.example/internal/fault"
	"entente.example/internal/identity"
	"entente.example/internal/limit"
	"entente.example/internal/policy"
	"entente.example/internal/rpc"
	"entente.example/internal/statement"
)

// PeopleFile lists who works for the member, and in which roles. The node reads it for every request, so that a change
// takes effect at once.
const PeopleFile = "people.toml"

// entitled finds who calls, if they have one of the roles; doing says what they want to do.
func (n *node) entitled(ctx context.Context, doing string, roles ...string) (*policy.Person, error) {
	p, err := person(n.Dir, rpc.CallerFrom(ctx).Person)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(roles, func(r string) bool { return slices.Contains(p.Roles, r) }) {
		return nil, fault.New(fault.Forbidden, "ask for: entente person add "+p.Name+" --role "+roles[0], "%s may not %s, which takes the role %s", p.Name, doing, strings.Join(roles, " or "))
	}
	return p, nil
}

// Roles are what a person can be entitled to.
var Roles = []string{"releaser", "reader", "approver", "signer", "auditor", "admin"}

// Person is somebody who works for the member.
type Person struct {
	Name            string
	Roles           []string
	CertificateEnds time.Time
}

type peopleFile struct {
	Person []personEntry `toml:"person"`
}

type personEntry struct {
	Name  string   `toml:"name"`
	Roles []string `toml:"roles"`
}

const peopleComment = `# Who works for this member, and in which roles: releaser (may send), reader (may open), approver, signer, auditor, admin.
# Whoever is not listed here may do nothing. Changes take effect at once. Add people with: entente person add NAME --role ROLE
`

func readPeople(dir string) (peopleFile, error) {
	var f peopleFile
	b, err := readBounded(filepath.Join(dir, PeopleFile), limit.Agreement)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil // nobody is entitled to anything
	}
	if err != nil {
		return f, fmt.Errorf("read people: %w", err)
	}
	return parsePeople(b)
}

func parsePeople(b []byte) (peopleFile, error) {
	var f peopleFile
	d := toml.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return f, tomlFault(PeopleFile, err) // nobody is entitled to anything until it is corrected
	}
	seen := map[string]bool{}
	for _, p := range f.Person {
		if err := statement.ValidPerson(p.Name); err != nil {
			return f, fault.New(fault.Misused, "correct the file", "read %s: %w", PeopleFile, err)
		}
		if seen[p.Name] {
			return f, fault.New(fault.Misused, "keep one entry", "read %s: %s is listed twice", PeopleFile, p.Name)
		}
		seen[p.Name] = true
		if err := checkRoles(p.Roles); err != nil {
			return f, err
		}
	}
	return f, nil
}

func checkRoles(roles []string) error {
	for _, r := range roles {
		if !slices.Contains(Roles, r) {
			return fault.New(fault.Misused, "the roles are "+strings.Join(Roles, ", "), "%.80q is not a role", r)
		}
	}
	return nil
}

// person finds the entry that entitles a caller. A certificate without an entry entitles to nothing.
func person(dir, name string) (*policy.Person, error) {
	f, err := readPeople(dir)
	if err != nil {
		return nil, err
	}
	for _, p := range f.Person {
		if p.Name == name {
			return &policy.Person{Name: p.Name, Roles: p.Roles}, nil
		}
	}
	return nil, fault.New(fault.Forbidden, "ask for: entente person add "+name+" --role ROLE", "%s has no entry in %s", name, PeopleFile)
}

// AddPerson gives somebody a certificate and an entry with these roles. Who is listed already gets a new certificate and
// keeps the roles: none need be given then, and others are a conflict.
func (h *Home) AddPerson(_ context.Context, now time.Time, name string, roles []string) error {
	if err := statement.ValidPerson(name); err != nil {
		return fault.New(fault.Misused, "choose one lower-case word, such as alice", "add person: %w", err)
	}
	if err := checkRoles(roles); err != nil {
		return err
	}
	roles = slices.Compact(slices.Sorted(slices.Values(roles)))
	lock := flock.New(filepath.Join(h.Dir, PeopleFile+".lock"))
	if err := lock.Lock(); err != nil {
		return fmt.Errorf("add person %s: lock: %w", name, err)
	}
	defer lock.Close()
	f, err := readPeople(h.Dir)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(f.Person, func(p personEntry) bool { return p.Name == name })
	switch {
	case at >= 0 && len(roles) > 0 && !slices.Equal(roles, slices.Compact(slices.Sorted(slices.Values(f.Person[at].Roles)))):
		return fault.New(fault.Conflict, "edit "+PeopleFile+" to change roles; for a new certificate leave --role out", "add person: %s is listed already, with other roles", name)
	case at < 0 && len(roles) == 0:
		return fault.New(fault.Misused, "give --role with one or more of "+strings.Join(Roles, ", "), "add person %s: no role given", name)
	}
	// First the certificate, then the entry: a certificate without an entry entitles to nothing.
	if err := h.Keys.IssuePerson(h.Dir, name, now); err != nil {
		return fmt.Errorf("add person %s: %w", name, err)
	}
	if at >= 0 {
		return nil
	}
	file := filepath.Join(h.Dir, PeopleFile)
	old, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		old = []byte(peopleComment)
	} else if err != nil {
		return fmt.Errorf("add person %s: %w", name, err)
	}
	quoted := make([]string, len(roles))
	for i, r := range roles {
		quoted[i] = fmt.Sprintf("%q", r)
	}
	entry := fmt.Sprintf("\n[[person]]\nname = %q\nroles = [%s]\n", name, strings.Join(quoted, ", "))
	// Somebody may have written the list in another style of TOML, to which an entry cannot be added at the end.
	text := slices.Concat(old, []byte(entry))
	if _, err := parsePeople(text); err != nil {
		return fault.New(fault.Misused, "write each person there as an entry of its own that begins with [[person]]", "add person %s: an entry cannot be added to %s as it is written", name, PeopleFile)
	}
	if err := durable.Replace(file, text); err != nil {
		return fmt.Errorf("add person %s: %w", name, err)
	}
	return nil
}

// People lists who works for the member.
func (h *Home) People() ([]Person, error) {
	f, err := readPeople(h.Dir)
	if err != nil {
		return nil, err
	}
	list := make([]Person, len(f.Person))
	for i, p := range f.Person {
		list[i] = Person{Name: p.Name, Roles: p.Roles}
		cert, err := identity.LoadPerson(h.Dir, h.Config.Member, p.Name)
		if err == nil && len(cert.Certificate) > 0 {
			if leaf, err := x509.ParseCertificate(cert.Certificate[0]); err == nil {
				list[i].CertificateEnds = leaf.NotAfter
			}
		}
	}
	return list, nil
}
