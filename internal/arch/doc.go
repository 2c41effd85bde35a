// Package arch holds the rules about this code that a compiler does not check, as tests: who may import whom, package
// comments, no hidden state, no waiting by sleeping, no giant files. It reads source text and must not import any of it.
package arch
