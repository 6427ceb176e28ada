"""Two hundred small documents of a bicycle shop, and fifty questions that callers ask of it.

Every question says which document answers it. The rest are there to be in the way: they have the
same words, about something else.
"""

from __future__ import annotations

from typing import Final

ANSWERS: Final[dict[str, str]] = {
    "opening-hours.md": "# Opening hours\n\nThe shop is open Monday to Friday from nine to half "
    "past six, on Saturdays from ten to four. We are closed on Sundays and public holidays.",
    "returns.md": "# Returns and refunds\n\nGoods that were not used can be brought back within "
    "thirty days for a full refund. Please keep the receipt.\n\n## Opened packages\n\nHelmets and "
    "clothing are exchanged only while their seal is unbroken.",
    "warranty.md": "# Warranty\n\nFrames have a warranty of five years, parts of two. Wear is not "
    "covered: chains, tyres, brake pads.",
    "repairs.md": "# Repairs\n\nA puncture is mended while you wait. Anything else takes three "
    "working days; in spring it may be a week. We call you when your bicycle is ready.",
    "inspection.md": "# Inspection\n\nThe first inspection is free if the bike was bought here. "
    "After that it costs 69 euros for bikes and 99 euros for e-bikes, parts not included.",
    "delivery.md": "# Delivery\n\nWe bring bicycles to your door within 50 km for 39 euros. "
    "Parcels are shipped with DHL and arrive after two to four days.",
    "payment.md": "# Ways to pay\n\nCash, debit cards, Visa and Mastercard, and PayPal in the "
    "online store. We do not take cheques or American Express.",
    "instalments.md": "# Paying in instalments\n\nFrom 500 euros on you can pay monthly over 12, "
    "24 or 36 months at 3.9 percent. Bring an identity card and a bank statement.",
    "leasing.html": "<html><head><title>Company bikes</title></head><body><h1>Leasing through "
    "your employer</h1><p>We work with JobRad and Lease a Bike. The monthly rate is taken from "
    "your gross salary.</p></body></html>",
    "parking.txt": "Where to park\n\nThere are six parking spaces behind the building; drive in "
    "from Mill Lane. On market days use the garage of the town hall.",
    "getting-here.md": "# How to find us\n\nTram 4 and bus 11 stop at Harbour Square, two minutes "
    "on foot. From the railway station it is fifteen minutes.",
    "test-rides.md": "# Test rides\n\nYou can try every model for an hour. Leave an identity card "
    "with us. E-mountain bikes have to be booked a day ahead.",
    "rental.md": "# Rental\n\nCity bikes cost 15 euros a day, e-bikes 35. A deposit of 100 euros "
    "is returned when you bring it back. Children's seats are free.",
    "insurance.md": "# Theft insurance\n\nInsurance against theft and vandalism starts at 4 euros "
    "a month. The bicycle has to be locked to something that cannot be carried away.",
    "stolen.md": "# My bike was stolen\n\nReport it to the police first and ask for the file "
    "number. We keep the frame number of every bike we sold and send it to you.",
    "gift-cards.md": "# Gift cards\n\nVouchers are sold from 10 to 500 euros and never expire. "
    "They cannot be turned into cash.",
    "kids.md": "# Bikes for children\n\nBalance bikes suit from two years, 16 inch from four. We "
    "take a bike back for half its price when the child has outgrown it.",
    "trade-in.md": "# Trade in\n\nWe buy used bicycles that are younger than six years. Bring it "
    "along; the estimate is done in half an hour and costs nothing.",
    "click-and-collect.md": "# Click and collect\n\nOrder online and pick it up in the shop. We "
    "hold the goods for seven days; you get a text message when they are here.",
    "cancel-order.md": "# Cancelling an order\n\nAn order from the online store can be cancelled "
    "free of charge until it has been handed to the carrier. Write to us with the order number.",
    "complaints.md": "# Complaints\n\nIf something went wrong ask for Mrs Petersen, who leads the "
    "customer service. You have an answer within two working days.",
    "privacy.md": "# Privacy\n\nCalls are recorded only with your consent. Recordings are erased "
    "after thirty days. Write to the data protection officer to have your data deleted.",
    "newsletter.md": "# Newsletter\n\nIt comes once a month. At its bottom is a link to "
    "unsubscribe. New subscribers get ten percent off one purchase.",
    "jobs.md": "# Work with us\n\nWe are looking for a mechanic, full time, and for students who "
    "help at weekends. Send your application to the office.",
    "apprenticeship.md": "# Apprenticeship\n\nEvery August two trainees begin with us as two-wheel "
    "mechatronics technicians. It lasts three and a half years.",
    "winter.md": "# Winter storage\n\nFrom November to March we keep your bicycle dry and warm for "
    "45 euros, cleaning included.",
    "battery.md": "# Battery care\n\nStore it at room temperature and half charged. After about "
    "800 cycles it has seventy percent of its capacity. Old ones are recycled here.",
    "range.md": "# How far an e-bike goes\n\nWith 500 watt hours count on 60 to 100 kilometres, "
    "less in hills, wind and cold.",
    "software-update.md": "# Firmware of the motor\n\nBosch drives get their update during an "
    "inspection, or at home over the eBike Flow app.",
    "size.md": "# Frame size\n\nMultiply your inside leg in centimetres by 0.66 for a trekking "
    "bike. We measure you in the shop, which takes five minutes.",
    "saddle.md": "# Sore after riding\n\nA saddle that is too soft hurts more. We measure the "
    "distance of your sit bones and lend you three saddles to compare.",
    "locks.md": "# Locks\n\nA good lock costs a tenth of the bicycle. Folding locks of level 12 "
    "and more are accepted by insurers.",
    "child-trailer.md": "# Trailers for children\n\nUp to two children of up to seven years may "
    "ride in a trailer. It needs a flag and a rear light.",
    "group-tours.md": "# Guided tours\n\nOn the first Sunday of every month we ride 40 km at an "
    "easy pace. Meeting point is the fountain at ten. It is free.",
    "workshop-course.md": "# Learn to mend it yourself\n\nOn Thursday evenings we teach changing "
    "tubes, setting brakes and gears. Eight places, 25 euros.",
    "wholesale.md": "# Dealers and clubs\n\nFrom ten bikes on there is a discount of twelve "
    "percent. Ask for Mr Okafor in purchasing.",
    "invoice.md": "# A copy of the invoice\n\nYou find all invoices in your customer account. For "
    "purchases in the shop we need the date and the sum.",
    "accessibility.md": "# Wheelchair access\n\nThe entrance has a ramp, and the lift goes to the "
    "workshop. Assistance dogs are welcome.",
    "lost-property.md": "# Lost and found\n\nWhat was left in the shop is kept for half a year at "
    "the till.",
    "oeffnungszeiten.md": "# Öffnungszeiten\n\nDer Laden hat montags bis freitags von 9 bis 18.30 "
    "Uhr auf, samstags bis 16 Uhr. Zwischen den Jahren bleibt geschlossen.",
    "rueckgabe.md": "# Rückgabefrist\n\nUnbenutzte Ware nehmen wir dreißig Tage lang zurück. Der "
    "Kassenbon genügt.",
    "lieferung.md": "# Versand\n\nDie Lieferkosten betragen 5,90 Euro je Paket, ab 75 Euro "
    "liefern wir frei Haus.",
    "werkstatt.md": "# Werkstatttermine\n\nTermine vergeben wir telefonisch oder im Netz. Ein "
    "Platten wird ohne Anmeldung sofort geflickt.",
    "gewaehrleistung.md": "# Gewährleistung\n\nZwei Jahre nach dem Kauf beheben wir Mängel "
    "kostenlos. Verschleißteile sind ausgenommen.",
    "probefahrt.md": "# Probefahrt\n\nJedes Rad darf eine Stunde lang gefahren werden. Bitte einen "
    "Ausweis mitbringen.",
    "ansprechpartner.md": "# Ansprechpartner\n\nFür Beschwerden ist Frau Petersen zuständig, für "
    "den Einkauf Herr Okafor.",
    "strasse.txt": "Anfahrt\n\nSie finden uns in der Großen Mühlenstraße 12, gleich neben dem "
    "Rathaus.",
    "akku.md": "# Ersatzakkus\n\nFür Bosch und Shimano sind sie vorrätig, für ältere Antriebe "
    "bestellen wir sie innerhalb einer Woche.",
    "versicherung.md": "# Diebstahlversicherung\n\nAb 4 Euro im Monat. Das Schloss muss mindestens "
    "50 Euro gekostet haben.",
    "gutscheine.md": "# Gutscheine\n\nSie gelten unbegrenzt und werden nicht bar ausgezahlt.",
}

QUESTIONS: Final[tuple[tuple[str, str], ...]] = (
    ("Are you open on Saturday afternoon?", "opening-hours.md"),
    ("What are your hours on public holidays?", "opening-hours.md"),
    ("Can I return something I bought and get my money refunded?", "returns.md"),
    ("I opened the helmet's package, can I still exchange it?", "returns.md"),
    ("How many years of warranty do I have on the frame?", "warranty.md"),
    ("How long does a repair take?", "repairs.md"),
    ("I have a puncture, can you mend it right away?", "repairs.md"),
    ("What does an inspection of an e-bike cost?", "inspection.md"),
    ("Do you deliver bicycles to my home?", "delivery.md"),
    ("Do you take American Express?", "payment.md"),
    ("Can I pay by monthly instalments?", "instalments.md"),
    ("Do you offer leasing through my employer?", "leasing.html"),
    ("Where can I park the car?", "parking.txt"),
    ("Which tram stops near you?", "getting-here.md"),
    ("Can I try a bike before I buy it, a test ride?", "test-rides.md"),
    ("What does renting an e-bike for a day cost, and is there a deposit?", "rental.md"),
    ("Is there an insurance against theft?", "insurance.md"),
    ("My bicycle has been stolen, what is its frame number?", "stolen.md"),
    ("Does a gift card expire?", "gift-cards.md"),
    ("Which bike for a four year old child?", "kids.md"),
    ("Do you buy my old used bicycle?", "trade-in.md"),
    ("How long do you hold an online order for pick up?", "click-and-collect.md"),
    ("I want to cancel my order", "cancel-order.md"),
    ("I want to complain, who leads customer service?", "complaints.md"),
    ("Is this call recorded, and when do you delete the recording?", "privacy.md"),
    ("How do I unsubscribe from the newsletter?", "newsletter.md"),
    ("Are you hiring mechanics?", "jobs.md"),
    ("How many years does the training as an apprentice last?", "apprenticeship.md"),
    ("Can you store my bike over the winter?", "winter.md"),
    ("How should I store the battery?", "battery.md"),
    ("How many kilometres does an e-bike go?", "range.md"),
    ("How do I update the motor's firmware?", "software-update.md"),
    ("What frame size do I need?", "size.md"),
    ("The saddle hurts", "saddle.md"),
    ("Which locks do insurers accept?", "locks.md"),
    ("How old may children in a trailer be?", "child-trailer.md"),
    ("When is the next guided tour?", "group-tours.md"),
    ("Is there a course where I learn to change a tube?", "workshop-course.md"),
    ("Discount for a club that buys ten bikes", "wholesale.md"),
    ("I need a copy of my invoice", "invoice.md"),
    ("Is the entrance accessible with a wheelchair?", "accessibility.md"),
    ("I left my gloves in your shop, were they found?", "lost-property.md"),
    ("Wann haben Sie samstags geöffnet? Oeffnungszeiten", "oeffnungszeiten.md"),
    ("Welche Frist gilt für die Rückgabe?", "rueckgabe.md"),
    ("Was sind die Kosten der Lieferung?", "lieferung.md"),
    ("Ich brauche einen Termin in der Werkstatt", "werkstatt.md"),
    ("Wer ist für eine Beschwerde zuständig?", "ansprechpartner.md"),
    ("In welcher Strasse sind Sie, Muehlenstrasse?", "strasse.txt"),
    ("Haben Sie einen Ersatzakku für Shimano?", "akku.md"),
    ("Wie teuer ist eine Versicherung gegen Diebstahl im Monat?", "versicherung.md"),
)

ELSEWHERE: Final = (
    "What is the capital of Portugal?",
    "Do you sell aquariums and tropical fish?",
    "Wie wird das Wetter morgen in Hamburg?",
    "Can you book me a table for dinner?",
)
"""Of which these documents say nothing."""

_MODELS: Final = ("Alster", "Bora", "Cirrus", "Delta", "Enno", "Fjord", "Gale", "Hansa")
_KINDS: Final = ("city bike", "trekking bike", "mountain bike", "e-bike", "road bike")
_TOWNS: Final = ("Kiel", "Lübeck", "Husum", "Flensburg", "Eutin", "Plön", "Schleswig", "Heide")
_MONTHS: Final = ("January", "March", "April", "June", "September", "October", "December")


def corpus() -> dict[str, str]:
    """All of it, by name."""
    texts = dict(ANSWERS)
    for number, model in enumerate(_MODELS):
        for kind in _KINDS:
            price = 599 + 137 * number + 211 * _KINDS.index(kind)
            texts[f"models/{model.lower()}-{kind.replace(' ', '-')}.md"] = (
                f"# {model} {kind}\n\nThe {model} is our {kind} for every day: {8 + number} gears, "
                f"disc brakes, an aluminium frame of {14 + number / 2:g} kg. It costs {price} euros"
                f" and comes in {('blue', 'green', 'black', 'white')[number % 4]}.\n"
            )
    for number, town in enumerate(_TOWNS):
        texts[f"partners/{town.lower()}.txt"] = (
            f"Our partner in {town}\n\nThe workshop in {town} mends e-bikes with a Bosch drive. "
            f"Phone extension {4100 + number}. It is {20 + 9 * number} km from here.\n"
        )
        texts[f"partner-de/{town.lower()}.md"] = (
            f"# Partner in {town}\n\nDie Werkstatt in {town} nimmt Räder mit Shimano an. "
            f"Durchwahl {4200 + number}, geöffnet nach Vereinbarung.\n"
        )
    for month in _MONTHS:
        for year in range(2013, 2026):
            texts[f"news/{year}-{month.lower()}.html"] = (
                f"<title>News of {month} {year}</title><p>In {month} {year} we were at the fair "
                f"with {2 + year % 7} new bicycles. Many customers came, the weather was fine, and "
                f"the shop sold {30 + year % 11} of them. Our mechanic won a prize.</p>"
            )
    return texts
