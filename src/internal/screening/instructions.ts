/**
 * Text that speaks to a model instead of a reader: what published injections
 * have in common, in a few languages, read through the encodings that hide it.
 *
 * This marks; it protects nobody. Whoever words it differently is not found, and an article about
 * injections is. What protects is `Taint`, which does not look at what a text says.
 */
import { lazily } from "../lazily.ts"
import { fold, readings } from "../readings.ts"

/**
 * The first sign in a text: what such a text does, as the end of a sentence that begins with its place; `undefined` for
 * ordinary text. Linear.
 */
export const find = (text: string): string | undefined => {
  for (const [index, reading] of readings(text).entries()) {
    const folded = fold(reading)
    const sign = signs().find(({ pattern }) => pattern.test(folded))?.sign
    if (sign !== undefined) return index === 0 ? sign : `${sign}, in encoded text`
  }
  return undefined
}

/** A verb and a noun of one sentence, in either order, as the language has it. */
const near = (first: string, second: string): string => `(?:${first})[^.!?。！？]{0,60}?(?:${second})`

const override = [
  // English
  near(
    "\\b(?:ignor(?:e|ing)|disregard|forget|override|overrule|bypass|discard|pay no attention to|set aside|do(?: not|n['’]t) (?:follow|obey))\\b",
    "\\b(?:previous|prior|earlier|above|preceding|former|existing|original|initial|your|all|any|other)\\b[^.!?]{0,40}?\\b(?:instructions?|directions?|directives?|prompts?|rules?|guidelines?|commands?|polic(?:y|ies)|constraints?|safeguards?|training)\\b"
  ),
  // German, Dutch
  near(
    "\\b(?:ignorier|vergiss|vergesst|missacht|überspring|verwirf)",
    "anweisung|instruktion|vorgabe|regel|befehl|richtlinie"
  ),
  near("\\b(?:negeer|vergeet)\\b", "instructie|opdracht|aanwijzing|regels"),
  // French, Spanish, Italian, Portuguese
  near(
    "\\b(?:ignore[zrs]?|oublie[zrs]?|néglige[zrs]?|fai(?:s|tes) abstraction)\\b",
    "instruction|consigne|directive|règle"
  ),
  near(
    "\\b(?:ignor[aeá]|olvid[aeá]|descart[aeá]|omit[aeí]|haz caso omiso|no sigas)",
    "instruccion|instrucción|indicacion|órdenes|ordenes|reglas|directrices"
  ),
  near("\\b(?:ignora|dimentica|trascura)", "istruzion|regol|indicazion|direttiv"),
  near("\\b(?:ignor[ea]|esque[çc]a|desconsider[ea])", "instruç|instruc|regras|ordens|diretrizes"),
  // Polish, Russian, Ukrainian
  near("(?:zignoruj|ignoruj|pomiń|zapomnij)", "instrukcj|polece|zasad|wytyczn"),
  near("(?:игнорируй|забудь|не обращай|отмени)", "инструкци|указани|правил|команд"),
  near("(?:ігноруй|забудь)", "інструкці|вказівк|правил"),
  // Turkish, Vietnamese, Indonesian
  near("talimat|yönerge|kurallar", "yok say|görmezden gel|unut|dikkate alma"),
  near("bỏ qua|phớt lờ|quên", "hướng dẫn|chỉ dẫn|chỉ thị|quy tắc"),
  near("abaikan|lupakan", "instruksi|perintah|aturan"),
  // Arabic, Persian, Hebrew, Hindi
  near("تجاهل|انس|تجاوز", "تعليمات|الأوامر|القواعد"),
  near("دستور", "نادیده|فراموش"),
  near("התעלם|תתעלם|שכח", "הוראות|ההנחיות|הכללים"),
  near("निर्देश|आदेश", "अनदेखा|नज़रअंदाज़|भूल"),
  // Chinese, Japanese, Korean
  near("忽略|忽視|忽视|无视|無視|忘记|忘記|不要理会", "指令|指示|说明|說明|提示|规则|規則|命令"),
  near("指示|命令|ルール|プロンプト", "無視|忘れ"),
  near("지시|명령|규칙|프롬프트", "무시|잊")
]

const roles =
  /<\|(?:im_start|im_end|im_sep|system|user|assistant|endoftext|end_of_turn|start_header_id|end_header_id|eot_id|begin_of_text)\|?>?|<\/?(?:system|assistant|human)(?: [^<>]{0,60})?>|\[\/?inst\]|<<\/?sys>>|<start_of_turn>|### ?(?:system|instructions?|assistant|human) ?:|\b(?:system|developer|assistant)(?: message| prompt| note| override)? ?: (?:you|ignore|please|from now|important|do not|always|never|call|send|forward|the (?:user|assistant))\b/

const calls =
  /"(?:tool_calls?|function_call|tool_use|tool_name)" ?:|"type" ?: ?"(?:tool_use|function|tool_call)"|<\/?(?:tool_call|tool_use|function_calls?|invoke|use_mcp_tool)\b|\b(?:call|use|invoke|run|execute) (?:the )?[`"'][a-z][\w.-]{1,60}[`"'] (?:tool|function)|\b(?:call|invoke) the [a-z]\w{0,40}_\w{1,40} (?:tool|function)/

const personas =
  /\byou are now (?:an? |the |in |acting |operating |no longer |free |my )|\bfrom now on,? you (?:are|will|must|shall)\b|\bnew (?:system )?(?:instructions?|task) ?:|\byour (?:new|real|actual|true) (?:task|goal|instructions?|role|objective|purpose) (?:is|are)\b/

const addressed =
  /\b(?:dear|attention|hey|hello|note to|message (?:to|for)|instructions? (?:to|for)|important for),? (?:the |any |all |every )?(?:ai|llm|assistant|language model|chatbot|copilot|agent)s?\b|\bif you are an? (?:ai|llm|language model|assistant|automated|agent)\b|\b(?:ai|llm)s?(?: agents?| assistants?| models?)? (?:reading|processing|summari[sz]ing|that reads?)\b/

const secrecy =
  /\b(?:do not|don['’]t|never|without) (?:tell|telling|inform|informing|mention|mentioning|notify|notifying|alert|alerting|reveal|show|ask|asking)\b[^.!?]{0,30}?\b(?:user|human|anyone|owner|operator)\b/

const images =
  /!\[[^\][]{0,200}\]\( ?<?https?:[^)\s]{1,500}?(?:[?&][\w.-]{0,24}(?:data|secret|token|key|payload|content|text|info|msg|message|history|conversation|prompt|summary|leak|log|q|d|c)=|[?&/=](?:[{<[$]|%7b))|<img\b[^<>]{0,200}src ?= ?["']?https?:[^"'<>\s]{1,500}?[?&][\w.-]{0,24}(?:data|secret|token|payload|history|conversation|prompt|leak)=/

const hidden =
  /<[a-z][^<>]{0,200}style ?= ?["'][^"'<>]{0,300}(?:display ?: ?none|visibility ?: ?hidden|font-size ?: ?0|opacity ?: ?0(?![.\d])|color ?: ?(?:#fff(?:fff)?\b|white|transparent))/

const signs = lazily(
  (): ReadonlyArray<{ readonly sign: string; readonly pattern: RegExp }> => [
    {
      sign: "tells a model to disregard its instructions",
      pattern: new RegExp(override.map((text) => text.normalize("NFKC")).join("|"), "u")
    },
    { sign: "imitates the marks between messages of a conversation", pattern: roles },
    { sign: "imitates a call of a tool", pattern: calls },
    { sign: "gives a model another role or task", pattern: personas },
    { sign: "speaks of a system prompt", pattern: /\b(?:system|developer|hidden) prompts?\b/ },
    { sign: "speaks to a model", pattern: addressed },
    { sign: "asks to keep something from the user", pattern: secrecy },
    { sign: "shows an image whose address can carry data away", pattern: images },
    { sign: "holds text that is not shown", pattern: hidden }
  ]
)
