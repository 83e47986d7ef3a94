package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"entente.example/internal/durable"
	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/policy"
	"entente.example/internal/statement"
)

// cleared are the roles that see documents, and so need a label and training. The policies deny whoever lacks them; to add somebody
// without would be a slip.
var cleared = []string{policy.Releaser, policy.Reader, policy.Approver}

// AddPerson gives somebody a certificate and an entry with these roles, labels and training. Who is listed already gets a new certificate
// and keeps the entry: nothing need be given then, and something else is a conflict.
func (h *Home) AddPerson(_ context.Context, now time.Time, p Person) error {
	if err := statement.ValidPerson(p.Name); err != nil {
		return fault.New(fault.Misused, "choose one lower-case word, such as alice", "add person: %w", err)
	}
	if err := checkRoles(p.Roles); err != nil {
		return err
	}
	if err := h.checkLabels(p.Labels); err != nil {
		return fault.New(fault.Misused, "entente label scheme FILE shows the labels of a scheme", "add person %s: %w", p.Name, err)
	}
	p.Roles, p.Labels = sorted(p.Roles), sorted(p.Labels)
	lock, err := h.lockPeople()
	if err != nil {
		return fmt.Errorf("add person %s: %w", p.Name, err)
	}
	defer lock.Close()
	f, err := readPeople(h.Dir)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(f.Person, func(e personEntry) bool { return e.Name == p.Name })
	if at >= 0 {
		err = f.Person[at].conflict(p)
	} else {
		err = p.complete()
	}
	if err != nil {
		return err
	}
	// First the certificate, then the entry: a certificate without an entry entitles to nothing.
	if err := h.Keys.IssuePerson(h.Dir, p.Name, now); err != nil {
		return fmt.Errorf("add person %s: %w", p.Name, err)
	}
	if at >= 0 {
		return nil
	}
	file := filepath.Join(h.Dir, PeopleFile)
	old, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		old = []byte(peopleComment)
	} else if err != nil {
		return fmt.Errorf("add person %s: %w", p.Name, err)
	}
	// Somebody may have written the list in another style of TOML, to which an entry cannot be added at the end.
	text := slices.Concat(old, []byte(p.entry()))
	if _, err := parsePeople(text); err != nil {
		return fault.New(fault.Misused, "write each person there as an entry of its own that begins with [[person]]", "add person %s: an entry cannot be added to %s as it is written", p.Name, PeopleFile)
	}
	if err := durable.Replace(file, text); err != nil {
		return fmt.Errorf("add person %s: %w", p.Name, err)
	}
	return nil
}

func sorted(list []string) []string { return slices.Compact(slices.Sorted(slices.Values(list))) }

// lockPeople keeps two commands from changing the list at a time. Whoever gets it closes it.
func (h *Home) lockPeople() (*flock.Flock, error) {
	lock := flock.New(filepath.Join(h.Dir, PeopleFile+".lock"))
	if err := lock.Lock(); err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	return lock, nil
}

// conflict refuses what an entry says otherwise.
func (e personEntry) conflict(p Person) error {
	var what string
	switch {
	case len(p.Roles) > 0 && !slices.Equal(p.Roles, sorted(e.Roles)):
		what = "roles"
	case len(p.Labels) > 0 && !slices.Equal(p.Labels, sorted(e.Labels)):
		what = "labels"
	case !p.TrainedUntil.IsZero() && !p.TrainedUntil.Equal(e.trained):
		what = "training"
	default:
		return nil
	}
	return fault.New(fault.Conflict, "edit "+PeopleFile+" to change it; for a new certificate give the name alone", "add person: %s is listed already, with other %s", p.Name, what)
}

// complete refuses an entry that would entitle to nothing.
func (p Person) complete() error {
	if len(p.Roles) == 0 {
		return fault.New(fault.Misused, "give --role with one or more of "+strings.Join(Roles, ", "), "add person %s: no role given", p.Name)
	}
	i := slices.IndexFunc(p.Roles, func(r string) bool { return slices.Contains(cleared, r) })
	switch {
	case i >= 0 && len(p.Labels) == 0:
		return fault.New(fault.Misused, "give --label with the highest label that "+p.Name+" may see, such as TLP:AMBER", "add person %s: the role %s takes a label", p.Name, p.Roles[i])
	case i >= 0 && p.TrainedUntil.IsZero():
		return fault.New(fault.Misused, "give --trained-until with the last day on which the training counts", "add person %s: the role %s takes training", p.Name, p.Roles[i])
	case p.TrainedUntil.IsZero():
		return nil
	}
	day, err := lastSecond(p.TrainedUntil.Format(time.DateOnly))
	if err != nil || !day.Equal(p.TrainedUntil) {
		return fault.New(fault.Misused, "give a day, such as 2027-11-23", "add person %s: training ends with a day", p.Name)
	}
	return nil
}

// entry writes somebody as people.toml has it.
func (p Person) entry() string {
	text := fmt.Sprintf("\n[[person]]\nname = %q\nroles = [%s]\n", p.Name, quoted(p.Roles))
	if len(p.Labels) > 0 {
		text += fmt.Sprintf("labels = [%s]\n", quoted(p.Labels))
	}
	if !p.TrainedUntil.IsZero() {
		text += "trained_until = " + p.TrainedUntil.UTC().Format(time.DateOnly) + "\n"
	}
	return text
}

// RemovePerson takes somebody's entry out. Their certificate stays, and entitles to nothing; calls of theirs that are under way end
// within 5 s (limit.StandingCheck).
func (h *Home) RemovePerson(_ context.Context, name string) error {
	lock, err := h.lockPeople()
	if err != nil {
		return fmt.Errorf("remove person: %w", err)
	}
	defer lock.Close()
	file := filepath.Join(h.Dir, PeopleFile)
	old, err := readBounded(file, limit.Agreement)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove person: %w", err)
	}
	text, err := withoutPerson(old, name)
	if err != nil {
		return err
	}
	if err := durable.Replace(file, text); err != nil {
		return fmt.Errorf("remove person %s: %w", name, err)
	}
	return nil
}

// withoutPerson takes an entry out of people.toml. In another style of TOML it is not where we look for it; nobody else must lose theirs.
func withoutPerson(old []byte, name string) ([]byte, error) {
	before, err := parsePeople(old)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(before.Person, func(e personEntry) bool { return e.Name == name })
	if at < 0 {
		return nil, fault.New(fault.NotFound, "entente person list shows who is", "%.80q is not listed in %s", name, PeopleFile)
	}
	text := []byte(withoutEntry(string(old), at))
	after, err := parsePeople(text)
	same := func(a, b personEntry) bool { return reflect.DeepEqual(a, b) }
	if err != nil || !slices.EqualFunc(after.Person, slices.Delete(slices.Clone(before.Person), at, at+1), same) {
		return nil, fault.New(fault.Misused, "take it out with an editor; the change takes effect at once", "remove person %s: the entry cannot be taken out of %s as it is written", name, PeopleFile)
	}
	return text, nil
}

// withoutEntry leaves the nth entry out, counted from 0. Comments above the next one stay: they are about that.
func withoutEntry(text string, nth int) string {
	lines := strings.SplitAfter(text, "\n")
	begin, end := -1, len(lines)
	for i, line := range lines {
		if !strings.HasPrefix(strings.TrimSpace(line), "[[person]]") {
			continue
		}
		if begin >= 0 {
			end = i
			break
		}
		if nth--; nth < 0 {
			begin = i
		}
	}
	if begin < 0 {
		return text
	}
	for end < len(lines) && end > begin+1 && (strings.TrimSpace(lines[end-1]) == "" || strings.HasPrefix(strings.TrimSpace(lines[end-1]), "#")) {
		end--
	}
	if begin > 0 && strings.TrimSpace(lines[begin-1]) == "" {
		begin-- // the empty line that sets the entry off
	}
	return strings.Join(slices.Concat(lines[:begin], lines[end:]), "")
}
