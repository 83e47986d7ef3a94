package policy

import (
	"fmt"
	"slices"
	"strings"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// House is a member's own rules. The zero value permits nothing.
type House struct {
	Text string // the files one after the other, each behind a line `// file: NAME`, in the order of their names
	Hash statement.Hash
}

// fileMark begins the line in front of each file, so that an error can name it.
const fileMark = "// file: "

// NewHouse puts the files of a member's own rules together, given by name, and checks them. Errors name file and line.
func NewHouse(files map[string]string) (House, error) {
	var b strings.Builder
	if len(files) > limit.HouseFiles {
		return House{}, fmt.Errorf("there are %d files of house rules, at most %d are allowed", len(files), limit.HouseFiles)
	}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		text := files[name]
		if b.Len()+len(fileMark)+len(name)+len(text)+2 > limit.Policy {
			return House{}, fmt.Errorf("%s: it has %d bytes, and the house rules may have %d in all", name, len(text), limit.Policy)
		}
		for i, line := range strings.Split(text, "\n") {
			if strings.HasPrefix(line, fileMark) {
				return House{}, fmt.Errorf("%s, line %d: no line may begin with %q", name, i+1, fileMark)
			}
		}
		b.WriteString(fileMark + name + "\n" + text)
		if text != "" && !strings.HasSuffix(text, "\n") {
			b.WriteString("\n")
		}
	}
	h := House{Text: b.String()}
	h.Hash = statement.HashBytes([]byte(h.Text))
	c := compile(setHouse, h.Text)
	if c.err == nil || h.Text == "" {
		return h, nil
	}
	// A file that does not end what it begins would swallow the next one, so the first that is broken by itself is named.
	for _, name := range names {
		if err := compile(setHouse, fileMark+name+"\n"+files[name]+"\n").err; err != nil {
			return House{}, err
		}
	}
	return House{}, c.err
}

// Count says how many rules of the house permit something, and how many forbid. Those that do not load count for nothing.
func (h House) Count() (permits, forbids int) {
	c := compile(setHouse, h.Text)
	if c.err != nil {
		return 0, 0
	}
	for i := range c.rules {
		if c.rules[i].forbids() {
			forbids++
		} else {
			permits++
		}
	}
	return permits, forbids
}

// PermitsNothing tells whether the house has no rule that permits.
func (h House) PermitsNothing() bool { permits, _ := h.Count(); return permits == 0 }
