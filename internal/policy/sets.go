package policy

import (
	"sync"

	"entente.example/internal/statement"
)

// compiled is a policy text that was read: a set, or what is wrong with it.
type compiled struct {
	*set
	name string
	text string
	hash statement.Hash // of the text
	err  error
}

// mostCompiled bounds the policies that are kept ready: those of a member's agreements, and its own rules before and after they were
// edited. Each takes perhaps ten times its text.
const mostCompiled = 64

// policyKey finds a text again without hashing it for every decision. by is what its owner calls it; the text is compared all the same.
type policyKey struct {
	set string
	by  statement.Hash
}

var cache = struct {
	sync.Mutex
	sets map[policyKey]*compiled
}{sets: map[policyKey]*compiled{}}

// compile reads a policy text, once for each.
func compile(name, text string) *compiled {
	return compileBy(name, statement.HashBytes([]byte(text)), text)
}

// compileBy is compile for a text that has a name: that of its agreement, or of the house.
func compileBy(name string, by statement.Hash, text string) *compiled {
	key := policyKey{name, by}
	cache.Lock()
	c := cache.sets[key]
	cache.Unlock()
	if c != nil && c.text == text {
		return c
	}
	c = compileNew(name, text)
	cache.Lock()
	defer cache.Unlock()
	if len(cache.sets) >= mostCompiled {
		clear(cache.sets)
	}
	cache.sets[key] = c
	return c
}

// base gives the base rules.
var base = sync.OnceValue(func() *compiled { return compileNew(setBase, baseText) })

// compiling lets one text be read at a time, so that many at once do not take the whole machine.
var compiling sync.Mutex

func compileNew(name, text string) *compiled {
	compiling.Lock()
	defer compiling.Unlock()
	c := &compiled{name: name, text: text, hash: statement.HashBytes([]byte(text))}
	v, err := loadVocabulary()
	if err != nil {
		c.err = err
		return c
	}
	c.set, c.err = parseSet(name, text, v, placeholders())
	return c
}

// loadVocabulary parses the embedded vocabulary once.
var loadVocabulary = sync.OnceValues(func() (*vocabulary, error) { return parseVocabulary("base.cedarschema", vocabularyText) })

// placeholders are the names that stand for values in the reasons of rules.
var placeholders = sync.OnceValue(func() map[string]string { return values(Request{}) })
