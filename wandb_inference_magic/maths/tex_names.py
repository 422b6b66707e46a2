r"""The control words, environments and colours of TeX that a reply's formulas may use.

The names are those of MathJax 3.2.2, the version in JupyterLab 4 and Notebook 7, which load all of its packages except
`physics` (`js/input/tex/*Mappings.js` in the npm package mathjax-full). A name is listed if ordinary replies use it and
if it takes only maths, plain text, or an argument whose form `tex.py` checks.

These are left out:

- names that define or configure: `\def`, `\let`, `\newcommand`, `\DeclareMathOperator`, `\require`, `\mathtoolsset`,
  `\definecolor`, ... They could change the meaning of a name, also in later outputs;
- names that take attributes, styles, classes or URLs: `\mmlToken`, `\style`, `\class`, `\cssId`, `\href`, `\unicode`,
  `\bbox`, `\enclose`, `\colorbox`, `\cellcolor`, ...;
- names that make links, ids or tooltips, or react to the mouse: `\label`, `\ref`, `\eqref`, `\toggle`, `\mathtip`, ...;
- names that draw outside their place or at any size: `\raise`, `\lower`, `\moveleft`, `\kern`, `\rule`, `\rlap`,
  `\Huge`, ...;
- names that parse their argument in a special way: `\verb`, `\genfrac`, the environment `CD`, ...;
- names that repeat their argument, so that nesting takes unlimited time: `\pmb`, `\overbracket`, `\mathchoice`, ...
"""

from __future__ import annotations

from typing import Final

# Each is one symbol, a named function or a space, and takes no argument.
SYMBOLS: Final = frozenset(
    r"""
    alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau upsilon phi chi
    psi omega varepsilon vartheta varpi varrho varsigma varphi digamma varkappa Gamma Delta Theta Lambda Xi Pi Sigma
    Upsilon Phi Psi Omega varGamma varDelta varTheta varLambda varXi varPi varSigma varUpsilon varPhi varPsi varOmega
    upalpha upbeta upgamma updelta upepsilon upzeta upeta uptheta upiota upkappa uplambda upmu upnu upxi upomicron uppi
    uprho upsigma uptau upupsilon upphi upchi uppsi upomega upvarepsilon upvartheta upvarpi upvarrho upvarsigma upvarphi
    Upgamma Updelta Uptheta Uplambda Upxi Uppi Upsigma Upupsilon Upphi Uppsi Upomega
    S aleph beth gimel daleth hbar hslash imath jmath ell wp Re Im partial infty prime backprime emptyset varnothing
    nabla top bot angle measuredangle sphericalangle triangle triangledown blacktriangle blacktriangledown backslash
    forall exists nexists neg lnot flat natural sharp clubsuit diamondsuit heartsuit spadesuit square Box blacksquare
    lozenge Diamond blacklozenge circledS bigstar complement mho eth Finv diagup Game diagdown Bbbk yen circledR
    checkmark maltese ohm degree celsius perthousand micro
    surd coprod bigvee bigwedge biguplus bigcap bigcup int intop iint iiint iiiint idotsint prod sum bigotimes bigoplus
    bigodot oint bigsqcup smallint triangleleft triangleright bigtriangleup bigtriangledown wedge land vee lor cap cup
    ddagger dagger sqcap sqcup uplus amalg diamond bullet wr div divsymbol odot oslash otimes ominus oplus mp pm circ
    bigcirc setminus cdot ast times star
    propto sqsubseteq sqsupseteq parallel mid dashv vdash leq le geq ge lt gt succ prec approx succeq preceq supset
    subset supseteq subseteq in ni notin owns gg ll sim simeq perp equiv asymp smile frown ne neq cong doteq bowtie
    models notChar
    Leftrightarrow Leftarrow Rightarrow leftrightarrow leftarrow gets rightarrow to mapsto leftharpoonup leftharpoondown
    rightharpoonup rightharpoondown nearrow searrow nwarrow swarrow rightleftharpoons hookrightarrow hookleftarrow
    longleftarrow Longleftarrow longrightarrow Longrightarrow Longleftrightarrow longleftrightarrow longmapsto
    ldots cdots vdots ddots dots dotsc dotsb dotsm dotsi dotso ldotp cdotp colon And iff implies impliedby
    dotplus ltimes smallsetminus rtimes Cap doublecap leftthreetimes Cup doublecup rightthreetimes barwedge curlywedge
    veebar curlyvee doublebarwedge boxminus circleddash boxtimes circledast boxdot circledcirc boxplus centerdot
    divideontimes intercal leqq geqq leqslant geqslant eqslantless eqslantgtr lesssim gtrsim lessapprox gtrapprox
    approxeq lessdot gtrdot lll llless ggg gggtr lessgtr gtrless lesseqgtr gtreqless lesseqqgtr gtreqqless doteqdot
    Doteq eqcirc risingdotseq circeq fallingdotseq triangleq backsim thicksim backsimeq thickapprox subseteqq supseteqq
    Subset Supset sqsubset sqsupset preccurlyeq succcurlyeq curlyeqprec curlyeqsucc precsim succsim precapprox
    succapprox vartriangleleft lhd vartriangleright rhd trianglelefteq unlhd trianglerighteq unrhd vDash Vdash Vvdash
    smallsmile shortmid smallfrown shortparallel bumpeq between Bumpeq pitchfork varpropto backepsilon blacktriangleleft
    blacktriangleright therefore because eqsim vartriangle Join nless ngtr nleq ngeq nleqslant ngeqslant nleqq ngeqq
    lneq gneq lneqq gneqq lvertneqq gvertneqq lnsim gnsim lnapprox gnapprox nprec nsucc npreceq nsucceq precneqq
    succneqq precnsim succnsim precnapprox succnapprox nsim ncong nshortmid nshortparallel nmid nparallel nvdash nvDash
    nVdash nVDash ntriangleleft ntriangleright ntrianglelefteq ntrianglerighteq nsubseteq nsupseteq nsubseteqq
    nsupseteqq subsetneq supsetneq varsubsetneq varsupsetneq subsetneqq supsetneqq varsubsetneqq varsupsetneqq
    leftleftarrows rightrightarrows leftrightarrows rightleftarrows Lleftarrow Rrightarrow twoheadleftarrow
    twoheadrightarrow leftarrowtail rightarrowtail looparrowleft looparrowright leftrightharpoons curvearrowleft
    curvearrowright circlearrowleft circlearrowright Lsh Rsh upuparrows downdownarrows upharpoonleft upharpoonright
    downharpoonleft restriction multimap downharpoonright leftrightsquigarrow rightsquigarrow leadsto dashrightarrow
    dashleftarrow nleftarrow nrightarrow nLeftarrow nRightarrow nleftrightarrow nLeftrightarrow
    coloneqq Coloneqq coloneq Coloneq eqqcolon Eqqcolon eqcolon Eqcolon colonapprox Colonapprox colonsim Colonsim
    dblcolon
    lmoustache rmoustache lgroup rgroup arrowvert Arrowvert bracevert Vert vert uparrow downarrow updownarrow Uparrow
    Downarrow Updownarrow rangle langle rbrace lbrace rceil lceil rfloor lfloor lbrack rbrack lvert rvert lVert rVert
    ulcorner urcorner llcorner lrcorner lparen rparen
    arcsin arccos arctan arg cos cosh cot coth csc deg det dim exp gcd hom inf ker lg lim liminf limsup ln log max min
    Pr sec sin sinh sup tan tanh injlim projlim varliminf varlimsup varinjlim varprojlim bmod
    quad qquad enspace thinspace negthinspace negmedspace negthickspace nobreakspace space strut mathstrut
    displaystyle textstyle scriptstyle scriptscriptstyle rm it bf cal sf tt frak mit
    limits nolimits not over atop choose brace brack cr newline hline hdashline nonumber notag TeX LaTeX
    left right middle big Big bigg Bigg bigl Bigl biggl Biggl bigr Bigr biggr Biggr bigm Bigm biggm Biggm
    , : > ; ! | { } _ # $ % &
    """.split()
) | {" ", "\n", "\t"}

# Each takes only maths or plain text. A formula is searched for control words regardless of their position.
COMMANDS: Final = frozenset(
    r"""
    frac dfrac tfrac cfrac binom dbinom tbinom sqrt stackrel stackbin overset underset overunderset substack sideset
    buildrel operatorname pmod mod pod prescript splitfrac splitdfrac
    hat widehat bar vec dot ddot dddot ddddot tilde widetilde acute grave breve check mathring
    overline underline overbrace underbrace overparen underparen overrightarrow underrightarrow overleftarrow
    underleftarrow overleftrightarrow underleftrightarrow
    xrightarrow xleftarrow xleftrightarrow xLeftarrow xRightarrow xLeftrightarrow xhookleftarrow xhookrightarrow xmapsto
    xrightharpoonup xrightharpoondown xleftharpoonup xleftharpoondown xrightleftharpoons xleftrightharpoons xlongequal
    xtwoheadrightarrow xtwoheadleftarrow xtofrom
    mathrm mathup mathnormal mathbf mathit mathbb Bbb mathfrak mathscr mathsf mathtt mathcal boldsymbol
    mathord mathop mathopen mathclose mathbin mathrel mathpunct mathinner
    text textrm textup textnormal textit textbf textsf texttt mbox hbox emph
    fbox boxed phantom vphantom hphantom
    bra ket braket set Bra Ket Braket Set ketbra Ketbra
    matrix pmatrix cases
    ce pu
    """.split()
)

# These read only maths.
ENVIRONMENTS: Final = frozenset(
    """
    equation equation* align align* gather gather* multline multline* split flalign flalign* eqnarray eqnarray*
    matrix pmatrix bmatrix Bmatrix vmatrix Vmatrix smallmatrix psmallmatrix bsmallmatrix Bsmallmatrix vsmallmatrix
    Vsmallmatrix cases dcases rcases drcases cases* dcases* rcases* drcases*
    """.split()
)
# These may take a position in brackets: `\begin{aligned}[t]`.
BOX_ENVIRONMENTS: Final = frozenset(["aligned", "gathered"])
# These take column types, a number of columns, or the alignment of the columns.
COLUMN_ENVIRONMENTS: Final = frozenset(["array", "subarray"])
COUNTED_ENVIRONMENTS: Final = frozenset(["alignat", "alignat*", "alignedat"])
PLACED_ENVIRONMENTS: Final = frozenset(f"{kind}matrix*" for kind in ("", "p", "b", "B", "v", "V"))

# Colours by name. None is the colour of a page.
COLOURS: Final = frozenset(
    """
    red green blue cyan magenta yellow orange purple violet brown gray grey pink teal olive lime darkred darkgreen
    darkblue darkorange
    Red Green Blue Cyan Magenta Yellow Orange Purple Violet Brown Gray Pink Teal
    """.split()
)
