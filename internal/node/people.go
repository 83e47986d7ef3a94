package node

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"entente.example/internal/fault"
	"entente.example/internal/identity"
	"entente.example/internal/limit"
	"entente.example/internal/memo"
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
		return nil, fault.New(fault.Forbidden, "ask for the role "+roles[0]+" in the entry of "+p.Name+" in "+PeopleFile+" of the home", "%s may not %s, which takes the role %s", p.Name, doing, strings.Join(roles, " or "))
	}
	return p, nil
}

// Roles are what a person can be entitled to.
var Roles = []string{"releaser", "reader", "approver", "signer", "auditor", "admin"}

// Person is somebody who works for the member.
type Person struct {
	Name            string
	Roles           []string
	Labels          []string  // the highest label of each scheme that they may see
	TrainedUntil    time.Time // the last second of a day, UTC; zero: not trained
	CertificateEnds time.Time // zero: no certificate in the home
}

type peopleFile struct {
	Person []personEntry `toml:"person"`
}

type personEntry struct {
	Name         string   `toml:"name"`
	Roles        []string `toml:"roles"`
	Labels       []string `toml:"labels"`
	TrainedUntil any      `toml:"trained_until"` // a date of TOML, or one in a string

	trained time.Time // TrainedUntil, read
}

const peopleComment = `# Who works for this member. Whoever is not listed here may do nothing, and changes take effect at once.
#
#   roles           releaser (may send), reader (may open), approver, signer, auditor, admin
#   labels          the highest label of each scheme that they may see, with categories if they are cleared for some
#   trained_until   the last day on which their training counts
#
# Releasers, readers and approvers need all three. Add people with: entente person add NAME --role ROLE --label LABEL --trained-until DAY
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
	return parsedPeople.Get(sha256.Sum256(b), func() (peopleFile, error) { return parsePeople(b) })
}

// parsedPeople are files that were parsed, by the hash of their content: the file is read for every call. What is in one is never changed.
var parsedPeople memo.Memo[[sha256.Size]byte, peopleFile]

func parsePeople(b []byte) (peopleFile, error) {
	var f peopleFile
	d := toml.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return f, tomlFault(PeopleFile, err) // nobody is entitled to anything until it is corrected
	}
	seen := map[string]bool{}
	for i := range f.Person {
		p := &f.Person[i]
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
		if err := policy.CheckClearances(p.Labels); err != nil {
			return f, fault.New(fault.Misused, "correct the file", "read %s: %s: %w", PeopleFile, p.Name, err)
		}
		var err error
		if p.trained, err = lastSecond(p.TrainedUntil); err != nil {
			return f, fault.New(fault.Misused, "write a day, such as trained_until = 2027-11-23", "read %s: %s: trained_until %w", PeopleFile, p.Name, err)
		}
	}
	return f, nil
}

// lastSecond reads a day, and gives its end in UTC; the zero time for none.
func lastSecond(v any) (time.Time, error) {
	var text string
	switch d := v.(type) {
	case nil:
		return time.Time{}, nil
	case toml.LocalDate:
		text = d.String()
	case string:
		text = d
	}
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return time.Time{}, errors.New("is not a day")
	}
	end := t.Add(24*time.Hour - time.Second)
	if end.Year() < 2000 || end.Year() > 2999 { // the years of statements
		return time.Time{}, errors.New("is not in the years 2000 to 2999")
	}
	return end, nil
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
			return &policy.Person{Name: p.Name, Roles: p.Roles, Labels: p.Labels, TrainedUntil: p.trained}, nil
		}
	}
	return nil, fault.New(fault.Forbidden, "ask for: entente person add "+name+" --role ROLE --label LABEL --trained-until DAY", "%s has no entry in %s", name, PeopleFile)
}

// People lists who works for the member.
func (h *Home) People() ([]Person, error) {
	f, err := readPeople(h.Dir)
	if err != nil {
		return nil, err
	}
	list := make([]Person, len(f.Person))
	for i, p := range f.Person {
		list[i] = Person{Name: p.Name, Roles: p.Roles, Labels: p.Labels, TrainedUntil: p.trained}
		cert, err := identity.LoadPerson(h.Dir, h.Config.Member, p.Name)
		if err == nil && len(cert.Certificate) > 0 {
			if leaf, err := x509.ParseCertificate(cert.Certificate[0]); err == nil {
				list[i].CertificateEnds = leaf.NotAfter
			}
		}
	}
	return list, nil
}
