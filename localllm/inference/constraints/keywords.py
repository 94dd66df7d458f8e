"""Which keywords of JSON Schema are enforced, which say nothing to enforce, and what to do about some others.

Found by reading llguidance 1.9 (parser/src/json) and by trial; tests/inference/test_constraints_schema.py holds it.
Drafts 2020-12 and 2019-09 name the keywords; of older drafts, `definitions`, an array of `items` and
`additionalItems` are understood.
"""

APPLICATORS = frozenset({"allOf", "anyOf", "oneOf"})
SCHEMA_MAPS = frozenset({"$defs", "definitions", "patternProperties", "properties"})
SCHEMAS = frozenset({"additionalItems", "additionalProperties", "items"})
COUNTS = frozenset({"maxItems", "maxLength", "maxProperties", "minItems", "minLength", "minProperties"})
BOUNDS = frozenset({"exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum"})
VALUES = frozenset({"$ref", "const", "enum", "format", "multipleOf", "pattern", "prefixItems", "required", "type"})

HONOURED = APPLICATORS | SCHEMA_MAPS | SCHEMAS | COUNTS | BOUNDS | VALUES

# Without effect on what is valid. `discriminator` (OpenAPI) only says which branch of oneOf to look at.
ANNOTATIONS = frozenset(
    {
        "$comment",
        "$schema",
        "default",
        "deprecated",
        "description",
        "discriminator",
        "example",
        "examples",
        "readOnly",
        "title",
        "writeOnly",
    }
)
ROOT_ANNOTATIONS = frozenset({"$id", "id"})  # deeper, they would change what a $ref means

HINTS = {
    "nullable": 'write "type": ["string", "null"]',
    "not": "say what is allowed",
    "if": "write the cases as anyOf",
    "then": "write the cases as anyOf",
    "else": "write the cases as anyOf",
    "dependencies": "write the cases as anyOf",
    "dependentRequired": "write the cases as anyOf",
    "dependentSchemas": "write the cases as anyOf",
    "propertyNames": "use patternProperties with additionalProperties false",
    "unevaluatedProperties": "use additionalProperties",
    "unevaluatedItems": "use items",
    "$dynamicRef": "use $ref",
    "$recursiveRef": "use $ref",
    "$anchor": 'point at "#/$defs/…"',
}
