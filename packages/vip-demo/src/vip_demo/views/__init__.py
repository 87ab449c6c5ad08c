"""The tabs of the page. Each file builds one and draws what the inspection layer finds; `controls` is what they share."""
