package policy

import (
	"errors"
	"fmt"
	"strings"
)

// maxDepth bounds the nesting of parentheses and nots, so that no check string can exhaust the stack.
const maxDepth = 200

// Check is a parsed check string.
type Check struct{ n node }

// The tree of a check. Only its compiler looks inside.
type (
	node      any
	constNode bool
	notNode   struct{ n node }
	andNode   []node
	orNode    []node
	ruleNode  string
	// leafNode is `kind:match` of any other kind.
	leafNode struct{ kind, match string }
)

// Parse reads a check string. Where upstream logs an unreadable string and lets it refuse for ever, Parse says what is wrong with it.
func Parse(check string) (Check, error) {
	if check == "" {
		return Check{constNode(true)}, nil
	}
	p := &parser{toks: tokenize(check)}
	n, err := p.or(0)
	if err == nil && p.i < len(p.toks) {
		err = fmt.Errorf("%q where `and`, `or` or the end was expected", p.toks[p.i].text)
	}
	if err == nil {
		_, err = compile(n, func(string) *compiled { return &compiled{fn: refuse} })
	}
	if err != nil {
		return Check{}, fmt.Errorf("policy check %q: %w", check, err)
	}
	return Check{n}, nil
}

type tokenKind uint8

const (
	tokCheck tokenKind = iota
	tokOpen
	tokClose
	tokAnd
	tokOr
	tokNot
)

type token struct {
	kind tokenKind
	text string
}

// tokenize splits at white space; parentheses count only at a word's ends, because `%(name)s` contains them (oslo_policy/_parser.py).
func tokenize(s string) []token {
	var toks []token
	for _, w := range strings.Fields(s) {
		for strings.HasPrefix(w, "(") {
			toks = append(toks, token{tokOpen, "("})
			w = w[1:]
		}
		if w == "" {
			continue
		}
		clean := strings.TrimRight(w, ")")
		switch strings.ToLower(clean) {
		case "":
		case "and":
			toks = append(toks, token{tokAnd, clean})
		case "or":
			toks = append(toks, token{tokOr, clean})
		case "not":
			toks = append(toks, token{tokNot, clean})
		default:
			toks = append(toks, token{tokCheck, clean})
		}
		for range len(w) - len(clean) {
			toks = append(toks, token{tokClose, ")"})
		}
	}
	return toks
}

type parser struct {
	toks []token
	i    int
}

func (p *parser) accept(k tokenKind) bool {
	if p.i < len(p.toks) && p.toks[p.i].kind == k {
		p.i++
		return true
	}
	return false
}

func (p *parser) or(depth int) (node, error) {
	first, err := p.and(depth)
	if err != nil {
		return nil, err
	}
	all := orNode{first}
	for p.accept(tokOr) {
		n, err := p.and(depth)
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	if len(all) == 1 {
		return first, nil
	}
	return all, nil
}

func (p *parser) and(depth int) (node, error) {
	first, err := p.unary(depth)
	if err != nil {
		return nil, err
	}
	all := andNode{first}
	for p.accept(tokAnd) {
		n, err := p.unary(depth)
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	if len(all) == 1 {
		return first, nil
	}
	return all, nil
}

func (p *parser) unary(depth int) (node, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	if p.i >= len(p.toks) {
		return nil, errors.New("it ends where a check was expected")
	}
	t := p.toks[p.i]
	p.i++
	switch t.kind {
	case tokNot:
		n, err := p.unary(depth + 1)
		if err != nil {
			return nil, err
		}
		return notNode{n}, nil
	case tokOpen:
		n, err := p.or(depth + 1)
		if err != nil {
			return nil, err
		}
		if !p.accept(tokClose) {
			return nil, errors.New("a parenthesis is not closed")
		}
		return n, nil
	case tokCheck:
		return leaf(t.text)
	}
	return nil, fmt.Errorf("%q where a check was expected", t.text)
}

// leaf reads one word: `@`, `!` or kind:match, split at the first colon because targets' names may contain further ones.
func leaf(w string) (node, error) {
	switch w {
	case "@":
		return constNode(true), nil
	case "!":
		return constNode(false), nil
	}
	kind, match, ok := strings.Cut(w, ":")
	if !ok || kind == "" {
		return nil, fmt.Errorf("%q is neither @, ! nor kind:match", w)
	}
	switch kind {
	case "rule":
		return ruleNode(match), nil
	case "http", "https":
		return nil, fmt.Errorf("%q asks a remote server, which is not supported: write the rule in policy.yaml", w)
	}
	return leafNode{kind, match}, nil
}
